"""What stays below: shallow and deep parts, lens and probe, relearning, the course of a training, weights."""

import numpy as np
import pandas as pd
import pytest
from helpers.pages import Page, dots, texts
from helpers.synthetic import ONE, TABLES, Tables
from helpers.views import changed, replace, views_of, without

from overpaint.measures.depth import page as readout
from overpaint.measures.emergence import page as emergence
from overpaint.measures.perturbations import page as perturbations
from overpaint.measures.relearning import page as relearning
from overpaint.measures.uds import page as uds
from overpaint.report.drawing import COLOURS
from overpaint.report.sections.depth import shallow, weights
from overpaint.report.select import Cell
from overpaint.report.view import load


def test_what_is_lost_splits_into_shallow_and_deep(view):
    table = shallow.shallow_and_deep(view).set_index(["layer", "c"])
    row = table.loc[(2, 8.0)]
    assert row[["base", "unlearned", "cleared"]].tolist() == pytest.approx([0.97, 0.33, 0.97 - 0.4 * 0.64])
    assert (row.shallow, row.deep) == pytest.approx((0.6 * 0.64, 0.4 * 0.64))
    assert (row.recovered, row.recovered_low, row.recovered_high) == pytest.approx((0.6, 0.51, 0.68))
    assert table.shallow.add(table.deep).to_numpy() == pytest.approx((table.base - table.unlearned).to_numpy())
    assert np.isnan(table.loc[(2, 1.0)].recovered)


def test_the_answer_gives_both_parts_and_the_interval(view):
    said = shallow.sentence(view)
    assert "took 64.0 points" in said and "gives 38.4 of them back" in said and "and 25.6 it does not" in said
    assert "60 % (95 % interval 51 % to 68 %)" in said and "layer 2, c = 8" in said
    undefined = shallow.sentence(replace(view, cell=Cell(2, 1.0)))
    assert "is undefined: the gap to base is within 2 standard errors" in undefined and "nan" not in undefined
    assert "was not measured" in shallow.sentence(replace(view, primary="absent"))
    assert "was not measured" in shallow.sentence(without(view, "scores"))


def test_what_clearing_takes_from_the_base_is_told_beside_what_comes_back(tmp_path):
    settings = {"direction": "topic", "on_base": False}
    clearings = {"topic": settings, "on_base": settings | {"on_base": True}, "span": settings | {"direction": "span"}}
    [known] = views_of(Tables(), tmp_path, clearings)
    lower = changed(known, "scores", 0.81, clearing="on_base", topic="all", metric="accuracy")
    said = shallow.beside_ceiling(lower)
    assert "leaves the base 81 % of the answers to hazardous questions (uncleared: 97 %)" in said
    assert "up to that ceiling, what comes back is 80 % of what can" in said  # 0.384 of 0.48
    assert "was not measured" in shallow.beside_ceiling(without(known, "cells", "scores"))


def test_the_figure_of_parts_draws_every_cell_with_its_numbers(view):
    drawn = shallow.draw(view)
    axes = drawn.axes[0]
    assert dots(axes, COLOURS["base"], "s") == [0.97] * 6
    assert dots(axes, COLOURS["unlearned"], "v") == [0.89, 0.65, 0.33] * 2
    said = texts(drawn)
    assert said.count("38.4") == said.count("25.6") == 2 and said.count("undefined") == 1
    assert said.count("60 % (51 to 68)") == 5
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[2] == "layer 2, c = 8" and "layer 2, c = 1 (not unlearned)" in labels
    assert [label.get_fontweight() for label in axes.get_yticklabels()].index("bold") == 2


# --- lens and probe, relearning, the course of a training


def test_lens_and_probe_are_drawn_by_state_and_the_shuffled_probe_as_a_null(view):
    drawn = readout.draw(view)
    assert len(drawn.axes) == 6  # hazardous and benign; lens twice, probe
    ends = {line.get_color(): line.get_ydata()[-1] for line in drawn.axes[0].lines[:3]}
    wanted = {"base": 0.9, "unlearned": 0.5, "cleared": 0.7}
    assert ends == pytest.approx({COLOURS[name]: value for name, value in wanted.items()})
    shuffled = [
        [line for line in axes.lines if line.get_ls() == ":" and len(line.get_xdata()) == 7] for axes in drawn.axes
    ]
    assert [len(lines) for lines in shuffled] == [0, 0, 4] * 2
    assert {value for line in shuffled[2] for value in line.get_ydata()} == {0.24}


def test_probes_are_called_telling_only_above_every_control(view):
    said = readout.sentence(view)
    assert "unlearned 50 % (44 % to 56 %)" in said and "unlearned 55 % (49 % to 61 %)" in said
    assert "above every control" in said
    where = {"quantity": "probe_accuracy", "state": "unlearned"}
    for weak in [(0.26, 0.2, 0.32), (0.4, 0.36, 0.44)]:  # at chance; above shuffled answers, yet not above the control
        other = readout.sentence(changed(view, "depth", weak, **where))
        assert "cannot be told from its controls (up to 37 %)" in other and "above every" not in other


def test_a_table_of_few_runs_says_which_cell_it_shows(view):
    page = relearning.show([replace(view, cell=Cell(3, 4.0))])
    assert "layer 2, c = 8" in page and "layer 3, c = 4" not in page


def test_relearning_gives_first_and_last_of_either_kind_of_texts_with_the_best_rate(view):
    said = relearning.sentence(view)
    assert "with no text is base 95 % (90 % to 100 %), unlearned 40 % (35 % to 45 %)" in said
    hazardous, benign = said.split("with 56 texts per topic")[1].split(";")
    assert "unlearned 90 %" in hazardous and "never knew the facts 30 % (25 % to 35 %)" in hazardous
    assert "unlearned 65 %" in benign and "never knew the facts 28 %" in benign
    drawn = relearning.draw(view)
    assert texts(drawn).count("base") == texts(drawn).count("unlearned") == 2
    table = "".join(Page(relearning.show([view])).text)
    assert all(share in table for share in ("55 % (50 % to 60 %)", "30 % (25 % to 35 %)", "15 % (10 % to 20 %)"))


def test_perturbations_give_the_best_of_each_model_and_draw_every_size(view):
    said = perturbations.sentence(view)
    assert said.count("unlearned 40 % (36 % to 44 %)") == 3 and "rounded to the best number of bits" in said
    assert "After 1 hazardous word the unlearned model answers 85 % (81 % to 89 %) of benign questions" in said
    assert "after as many benign ones 95 %" in said
    none = changed(view, "perturbations", 0.5, perturbation="noise")
    assert "unlearned 50 %" in perturbations.sentence(none)
    left = perturbations.draw(view).axes[0]
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels == [
        "as it is", "rounded to 8 bits", "rounded to 4 bits", "noise, 0.1 of the weights", "0.5 of the changes",
        "after 4 benign sentences", "after 1 hazardous word", "after 1 benign word",
    ]  # fmt: skip
    marks = [line for line in left.lines if line.get_color() == COLOURS["unlearned"] and len(line.get_xdata()) == 1]
    assert len(marks) == 6, "as it is, three, its changes and filler; words stand before benign questions"


def test_emergence_finds_the_step_at_which_half_is_lost(view):
    said = emergence.sentence(view)
    assert "half of the 40.0 points that step 400 has lost are lost by step 200" in said
    assert "85 % (80 % to 90 %) at step 200 and 60 % (55 % to 65 %) at step 400" in said
    early = changed(view, "emergence", 0.3, quantity="forgotten_accuracy", step=100)
    assert "by step 100" in emergence.sentence(early)
    none = changed(view, "emergence", 0.0, quantity="forgotten_accuracy")
    assert "no accuracy on hazardous questions is lost" in emergence.sentence(none)
    recovered = emergence.draw(view).axes[1]
    assert {tuple(line.get_xdata()) for line in recovered.lines} == {(100, 200, 400)}  # undefined at step 0


# --- weights


def test_weights_name_the_tensor_that_changed_most_beside_its_null(view):
    said = weights.sentence(view)
    assert "mean over 3 seeds, 3 tensors changed; most did model.layers.2.mlp.down_proj.weight" in said
    assert "by 0.30 of its Frobenius norm" in said and "effective rank of 18.0" in said
    assert "50 % of the change's square (above what random vectors reach, 20 % to 30 %)" in said
    one_low = view.weights.copy()
    one_low.loc[one_low.quantity.eq("removed_share") & one_low.seed.eq("1"), "value"] = 0.28
    assert "not clear of what random" in weights.sentence(replace(view, weights=one_low))
    drawn = weights.draw(view)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["0", "1", "2"]
    assert dots(drawn.axes[3], COLOURS["unlearned"], "o") == [0.25, 0.25, 0.5]


def test_only_the_tensors_that_changed_most_are_shown_and_that_is_said(view):
    rows = view.weights[view.weights.tensor.str.contains("layers.2")]
    many = [
        rows.assign(tensor=f"h.{n}.w", value=rows.value + n * rows.quantity.eq("relative_change")) for n in range(15)
    ]
    many = replace(view, weights=pd.concat(many, ignore_index=True))
    labels = [label.get_text() for label in weights.draw(many).axes[0].get_yticklabels()]
    assert labels == [str(n) for n in range(3, 15)]
    assert "The 12 of 15 tensors" in weights.show([many]) and "The 12 of" not in weights.show([view])


def test_short_names_keep_what_differs():
    assert weights.short_names(["h.0.w", "h.11.w"]) == ({"h.0.w": "0", "h.11.w": "11"}, "h.*.w")
    assert weights.short_names(["h.0.w"]) == ({"h.0.w": "h.0.w"}, "")
    assert weights.short_names(["h.0.w", "head"])[1] == ""


# --- several models


def test_two_models_are_told_apart(tmp_path):
    folder = Tables(**ONE).write(tmp_path)
    for name in TABLES:
        table = pd.read_parquet(folder / f"{name}.parquet")
        other = table.assign(model="small")
        if name == "relearning":
            other["value"] = other.value / 2
        pd.concat([table, other]).to_parquet(folder / f"{name}.parquet")
    views = load(folder, "topic")
    page = relearning.show(views)
    assert page.index("<h3>tiny, RMU</h3>") < page.index("unlearned 40 %") < page.index("<h3>small, RMU</h3>")
    assert page.index("<h3>small, RMU</h3>") < page.index("unlearned 20 %")


def test_the_page_says_the_parts_of_the_main_cell(view):
    sentence = uds.sentence(view)
    assert "30 %" in sentence and "50 %" in sentence and "20 %" in sentence and "svg" in uds.show([view])
