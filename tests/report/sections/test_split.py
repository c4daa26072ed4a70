"""The overview's first picture: what was lost, split into painted over, displaced and gone."""

from dataclasses import replace

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
