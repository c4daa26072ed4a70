"""The overview's first picture: what was lost, split into painted over, displaced and gone."""

from dataclasses import replace

import pytest
from helpers.pages import texts

from overpaint.report.sections import split


def test_the_sentence_and_the_picture_have_every_layer_at_the_headlines_c(view):
    found = split.shares(view)
    assert found and {cell.c for cell in found} == {view.cell.c}
    said = split.sentence(found)
    for cell in found:
        assert f"at {cell}, 55 % (50 % to 60 %) was painted over, 30 % (25 % to 35 %) displaced and 15 %" in said
    drawn = split.draw(view)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [f"layer {cell.layer}" for cell in found]
    assert {"55 %", "30 %", "15 %"} <= {*texts(drawn)} and "<svg" in split.show([view])


def test_without_relearning_or_with_undefined_shares_there_is_no_picture(view):
    bare = replace(view, tables=view.tables | {"relearning": view.relearning.iloc[:0]})
    lost = view.relearning.assign(value=view.relearning.value.mask(view.relearning.metric == "displaced"))
    for without in (bare, replace(view, tables=view.tables | {"relearning": lost})):
        assert not split.shares(without) and split.show([without]) == "" and split.answer([without]) == ""


def test_over_base_models_the_parts_are_means_of_cells_without_a_mark(view):
    rows = view.relearning
    here = rows.metric.isin(split.PARTS)
    views = [view]
    for number, more in enumerate((0.1, -0.2)):
        share = rows.value.where(~here, rows.value + more * (rows.metric == "painted_over"))
        views.append(replace(view, model=f"m{number}", tables=view.tables | {"relearning": rows.assign(value=share)}))
    found = split.over_models(views)
    assert [*found] == [*split.shares(view)]
    for parts in found.values():
        told = parts["painted_over"]
        assert told.value == pytest.approx(0.55 - 0.1 / 3) and told.low < told.value < told.high and told.models == 3
    assert "took, on average over 3 base models, at layer" in split.answer(views)
    assert "Means over 3 base models, with t intervals." in split.show(views)
    marked = view.cells.assign(mark=view.cells["mark"].mask(view.cells.layer == view.cell.layer, "collapsed"))
    left_out = [replace(one, tables=one.tables | {"cells": marked}) for one in views]
    assert view.cell not in split.over_models(left_out)
