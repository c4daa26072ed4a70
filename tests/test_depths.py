"""Figures and sentences on what stays below, against constructed tables whose numbers are known."""

import base64
import io
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from synthetic import HOSTILE, ONE, Tables
from test_reporting import STUDIES, Page, check_page, execute, texts

from overpaint import depths, figures, reporting
from overpaint.figures import Cell

SECTIONS = [
    "depth_answer", "split_html", "read_off_html", "relearning_html", "emergence_html", "weights_html",
    "coherence_html", "agreement_html", "shift_html", "selectivity_html",
]  # fmt: skip
MEASURED = ("agreement", "coherence", "depth", "relearning", "emergence", "depths", "weights", "junk")
MAIN = Cell(2, 8.0)


@pytest.fixture(scope="module")
def part(tmp_path_factory) -> reporting.Part:
    return reporting.load(Tables().write(tmp_path_factory.mktemp("tables")), "topic", "synthetic")[0]


def changed(part: reporting.Part, name: str, value: float | tuple, **where) -> reporting.Part:
    """A part whose table has other values (value, low, high) where its columns are as given, seeds of all kinds."""
    table = getattr(part, name).copy()
    here = np.logical_and.reduce([table[column].eq(wanted).fillna(False) for column, wanted in where.items()])
    assert here.any()
    columns = ["value", "low", "high"][: len(value) if isinstance(value, tuple) else 1]
    table.loc[here, columns] = value
    return replace(part, **{name: table})


def without(part: reporting.Part, *names: str) -> reporting.Part:
    return replace(part, **{name: getattr(part, name).iloc[:0] for name in names})


def dots(axes, colour: str, marker: str) -> list[float]:
    """x of the single markers of a kind, from the top down."""
    lines = [line for line in axes.lines if line.get_marker() == marker and line.get_color() == colour]
    return [round(line.get_xdata()[0], 3) for line in sorted(lines, key=lambda line: line.get_ydata()[0])]


# ---------------------------------------------------------------- shallow and deep


def test_what_is_lost_splits_into_shallow_and_deep(part):
    table = depths.split(part.scores, "topic").set_index(["layer", "c"])
    row = table.loc[(2, 8.0)]
    assert row[["base", "unlearned", "cleared"]].tolist() == pytest.approx([0.97, 0.33, 0.97 - 0.4 * 0.64])
    assert (row.shallow, row.deep) == pytest.approx((0.6 * 0.64, 0.4 * 0.64))
    assert (row.recovered, row.recovered_low, row.recovered_high) == pytest.approx((0.6, 0.51, 0.68))
    assert table.shallow.add(table.deep).to_numpy() == pytest.approx((table.base - table.unlearned).to_numpy())
    assert np.isnan(table.loc[(2, 1.0)].recovered)


def test_the_answer_gives_both_parts_and_the_interval(part):
    said = depths.split_sentence(part)
    assert "took 64.0 points" in said and "gives 38.4 of them back" in said and "25.6 stay lost" in said
    assert "60 % (95 % interval 51 % to 68 %)" in said and "layer 2, c = 8" in said
    undefined = depths.split_sentence(replace(part, cell=Cell(2, 1.0)))
    assert "is undefined: the gap to base is within 2 standard errors" in undefined and "nan" not in undefined
    assert "was not measured" in depths.split_sentence(replace(part, primary="absent"))
    assert "was not measured" in depths.split_sentence(without(part, "scores"))


def test_the_figure_of_parts_draws_every_cell_with_its_numbers(part):
    drawn = depths.shallow_deep(depths.split(part.scores, "topic", part.cells), MAIN, "RMU")
    axes = drawn.axes[0]
    assert dots(axes, figures.COLOURS["base"], "s") == [0.97] * 6
    assert dots(axes, figures.COLOURS["unlearned"], "v") == [0.89, 0.65, 0.33] * 2
    said = texts(drawn)
    assert said.count("38.4") == said.count("25.6") == 2 and said.count("undefined") == 1
    assert said.count("60 % (51 to 68)") == 5
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[2] == "layer 2, c = 8" and "layer 2, c = 1 (not unlearned)" in labels
    assert [label.get_fontweight() for label in axes.get_yticklabels()].index("bold") == 2


# ---------------------------------------------------------------- depth, relearning, emergence


def test_lens_and_probe_are_drawn_by_state_and_the_shuffled_probe_as_a_null(part):
    drawn = depths.read_off(part.depth, MAIN)
    assert len(drawn.axes) == 6  # hazardous and benign; lens twice, probe
    ends = {line.get_color(): line.get_ydata()[-1] for line in drawn.axes[0].lines[:3]}
    wanted = {"base": 0.9, "unlearned": 0.5, "cleared": 0.7}
    assert ends == pytest.approx({figures.COLOURS[name]: value for name, value in wanted.items()})
    shuffled = [
        [line for line in axes.lines if line.get_ls() == ":" and len(line.get_xdata()) == 7] for axes in drawn.axes
    ]
    assert [len(lines) for lines in shuffled] == [0, 0, 4] * 2
    assert {value for line in shuffled[2] for value in line.get_ydata()} == {0.24}


def test_probes_are_called_telling_only_above_every_control(part):
    said = depths.read_off_sentence(part.depth, MAIN)
    assert "unlearned 50 % (44 % to 56 %)" in said and "unlearned 55 % (49 % to 61 %)" in said
    assert "above every control" in said
    where = {"quantity": "probe_accuracy", "state": "unlearned"}
    for weak in [(0.26, 0.2, 0.32), (0.4, 0.36, 0.44)]:  # at chance; above shuffled answers, yet not above the control
        other = depths.read_off_sentence(changed(part, "depth", weak, **where).depth, MAIN)
        assert "cannot be told from its controls (up to 37 %)" in other and "above every" not in other


def test_a_table_of_few_runs_shows_its_own_cell_and_says_which(part):
    assert depths.shown_cell(part.depth, MAIN) == MAIN
    assert depths.shown_cell(part.depth, Cell(3, 4.0)) == MAIN
    assert depths.shown_cell(part.scores, Cell(3, 4.0)) == Cell(3, 4.0)
    page = depths.relearning_html(replace(part, cell=Cell(3, 4.0)))
    assert "layer 2, c = 8" in page and "layer 3, c = 4" not in page


def test_relearning_gives_first_and_last(part):
    said = depths.relearning_sentence(part.relearning, MAIN)
    assert "with no text is unlearned 40 % (35 % to 45 %)" in said
    assert "with 56 texts per topic it is unlearned 90 %" in said and "never knew the facts 30 % (25 % to 35 %)" in said
    drawn = depths.relearning(part.relearning, MAIN, 0.97)
    assert texts(drawn).count("base") == 1 and texts(drawn).count("unlearned") == 2
    assert "base" not in texts(depths.relearning(part.relearning, MAIN))


def test_emergence_finds_the_step_at_which_half_is_lost(part):
    said = depths.emergence_sentence(part.emergence, MAIN)
    assert "half of the 40.0 points that step 400 has lost are lost by step 200" in said
    assert "85 % (80 % to 90 %) at step 200 and 60 % (55 % to 65 %) at step 400" in said
    early = changed(part, "emergence", 0.3, quantity="forgotten_accuracy", step=100)
    assert "by step 100" in depths.emergence_sentence(early.emergence, MAIN)
    none = changed(part, "emergence", 0.0, quantity="forgotten_accuracy")
    assert "no accuracy on hazardous questions is lost" in depths.emergence_sentence(none.emergence, MAIN)
    recovered = depths.emergence(part.emergence, MAIN).axes[1]
    assert {tuple(line.get_xdata()) for line in recovered.lines} == {(100, 200, 400)}  # undefined at step 0


# ---------------------------------------------------------------- weights


def test_weights_name_the_tensor_that_changed_most_beside_its_null(part):
    said = depths.weights_sentence(part.weights, MAIN)
    assert "mean over 3 seeds, 3 tensors changed; most did model.layers.2.mlp.down_proj.weight" in said
    assert "by 0.30 of its Frobenius norm" in said and "effective rank of 18.0" in said
    assert "50 % of the change's square (above what random vectors reach, 20 % to 30 %)" in said
    one_low = part.weights.copy()
    one_low.loc[one_low.quantity.eq("removed_share") & one_low.seed.eq("1"), "value"] = 0.28
    assert "not clear of what random" in depths.weights_sentence(one_low, MAIN)
    drawn = depths.weights(part.weights, MAIN)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["0", "1", "2"]
    assert dots(drawn.axes[3], figures.COLOURS["unlearned"], "o") == [0.25, 0.25, 0.5]


def test_only_the_tensors_that_changed_most_are_shown_and_that_is_said(part):
    rows = part.weights[part.weights.tensor.str.contains("layers.2")]
    many = [
        rows.assign(tensor=f"h.{n}.w", value=rows.value + n * rows.quantity.eq("relative_change")) for n in range(15)
    ]
    many = replace(part, weights=pd.concat(many, ignore_index=True))
    labels = [label.get_text() for label in depths.weights(many.weights, MAIN).axes[0].get_yticklabels()]
    assert labels == [str(n) for n in range(3, 15)]
    assert "The 12 of 15 tensors" in depths.weights_html(many) and "The 12 of" not in depths.weights_html(part)


def test_short_names_keep_what_differs():
    assert depths.short_names(["h.0.w", "h.11.w"]) == ({"h.0.w": "0", "h.11.w": "11"}, "h.*.w")
    assert depths.short_names(["h.0.w"]) == ({"h.0.w": "h.0.w"}, "")
    assert depths.short_names(["h.0.w", "head"])[1] == ""


# ---------------------------------------------------------------- text


def test_coherence_is_told_and_short_continuations_are_warned_of(part):
    said = depths.coherence_sentence(part.coherence, MAIN, "topic")
    assert "base 20 % (18 % to 22 %), unlearned 70 % (63 % to 77 %) and cleared 20 %" in said
    assert "stops after" not in said
    short = changed(part, "coherence", 4.0, metric="length", clearing="topic")
    warned = depths.coherence_sentence(short.coherence, MAIN, "topic")
    assert "stops after 4.0 tokens on average, the base after 30.0" in warned


def test_coherence_and_agreement_draw_clearings_and_nulls_by_role(part):
    drawn = depths.coherence(part.coherence, MAIN, "topic")
    assert len(drawn.axes) == 10
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["base", "RMU", "cleared: topic", "random: rand", "random: randn"]
    assert dots(drawn.axes[0], figures.COLOURS["unlearned"], "v") == [0.7]
    assert dots(drawn.axes[1], figures.COLOURS["unlearned"], "v") == [0.2]  # benign
    drawn = depths.agreement(part.agreement, MAIN, "topic")
    kl = drawn.axes[0]
    assert (dots(kl, figures.COLOURS["unlearned"], "v"), dots(kl, figures.COLOURS["cleared"], "o")) == ([2.0], [1.2])
    assert dots(drawn.axes[1], figures.COLOURS["unlearned"], "v") == [0.2]
    said = depths.agreement_sentence(part.agreement, MAIN, "topic")
    assert (
        "hazardous text unlearned 2.00 (1.90 to 2.10) and cleared 1.20" in said and "benign text unlearned 0.20" in said
    )


# ---------------------------------------------------------------- the shift by depth


def test_the_heat_map_is_symmetric_and_a_mean_over_seeds(part):
    rows = figures.in_cell(part.depths, MAIN)
    rows = rows[rows.topic == "north"].copy()
    rows.loc[(rows.depth == 3) & (rows.other_depth == 5).fillna(False), "value"] = [0.2, 0.3, 0.7]
    matrix = depths.shift_matrix(rows)
    assert matrix.index.tolist() == [2, 3, 4, 5]  # nothing moved below
    assert matrix.equals(matrix.T) and np.diag(matrix).tolist() == [1] * 4
    assert matrix.loc[5, 3] == pytest.approx(0.4) and matrix.loc[2, 5] == pytest.approx(0.7)
    drawn = depths.shift_cosines(part.depths, MAIN)
    assert [axes.get_title("left") for axes in drawn.axes] == ["north", "south"]
    assert [text.get_text() for text in drawn.axes[0].texts].count("0.70") == 2
    assert "cosine of 0.80 (0.80 to 0.80) for north" in depths.shift_sentence(part.depths, MAIN)  # depth 3 to 5


def test_a_large_model_has_a_scale_in_place_of_numbers(part):
    rows = [("n", depth, other, "cosine", 1.0) for depth in range(32) for other in range(depth, 32)]
    table = Tables().frame(
        [("rmu", 2, 8.0, "0", *row) for row in rows], ["topic", "depth", "other_depth", "quantity", "value"]
    )
    drawn = depths.shift_cosines(table, MAIN)
    assert len(drawn.axes) == 2 and not drawn.axes[0].texts


def test_selectivity_counts_values_above_their_own_null(part):
    row = depths.selectivity(part.junk, MAIN).set_index("direction").loc["topic"]
    assert (row["mean"], row.null_high, row.above, row["of"]) == pytest.approx((0.9, 0.8, 6, 6), abs=0.02)
    low = part.junk.copy()
    low.loc[low.quantity.eq("auc_centred") & low.seed.eq("1"), "value"] = 0.75
    assert depths.selectivity(low, MAIN).above.tolist() == [4, 2]
    raw = part.junk.assign(quantity=part.junk.quantity.replace("auc_centred", "auc"))
    assert depths.selectivity(raw, MAIN).empty  # the raw one is never shown
    assert "above its null range (0.20 to 0.80) in 6 of 6" in depths.selectivity_html(part)


# ---------------------------------------------------------------- what is missing, several models, hostile names


@pytest.mark.parametrize("name", STUDIES)
def test_every_section_renders_for_every_study(name, tmp_path):
    parts = reporting.load(Tables(**STUDIES[name]).write(tmp_path), "topic")
    for section in SECTIONS:
        page = reporting.each(parts, getattr(depths, section))
        assert page and "nan" not in "".join(Page(page).text).lower(), section
    assert not plt.get_fignums()


KEYS = {
    "depth": ("read_off_html", "study.depth"), "relearning": ("relearning_html", "study.relearn"),
    "emergence": ("emergence_html", "study.emergence"), "coherence": ("coherence_html", "study.coherence"),
    "agreement": ("agreement_html", "study.evaluate"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_what_the_study_did_not_look_at_is_one_sentence_with_its_key(part, name):
    section, key = KEYS[name]
    page = getattr(depths, section)(without(part, name))
    assert key in page and "did not look" in page and page.count("<p>") == 1 and "<svg" not in page
    assert "did not look" not in getattr(depths, section)(part)


def test_figures_of_empty_tables_say_so(part):
    for bare in (
        without(part, "scores", "cells", *MEASURED),
        replace(without(part, "scores", "cells", *MEASURED), cell=None),
    ):
        drawn = depths.all_figures(bare)
        assert all([text for text in texts(figure) if " no " in text] for figure in drawn.values())
        for section in SECTIONS:
            assert getattr(depths, section)(bare)
    mine = {name for name, draw in figures.FIGURES.items() if draw.__module__ == depths.__name__}
    assert mine == set(depths.all_figures(part))


def test_two_models_are_told_apart(tmp_path):
    folder = Tables(**ONE).write(tmp_path)
    for name in reporting.TABLES:
        table = pd.read_parquet(folder / f"{name}.parquet")
        other = table.assign(model="small")
        if name == "relearning":
            other["value"] = other.value / 2
        pd.concat([table, other]).to_parquet(folder / f"{name}.parquet")
    parts = reporting.load(folder, "topic")
    page = reporting.each(parts, depths.relearning_html)
    assert page.index("<h3>tiny, RMU</h3>") < page.index("unlearned 40 %") < page.index("<h3>small, RMU</h3>")
    assert page.index("<h3>small, RMU</h3>") < page.index("unlearned 20 %")


# ---------------------------------------------------------------- where the base looks facts up


def csv_of(page: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(base64.b64decode(page.split("text/csv;base64,")[1].split('"')[0])))


def test_each_target_layer_has_what_the_base_knows_before_it_and_what_comes_back(part):
    table = csv_of(depths.looked_up_html([part])).set_index("layer")
    assert list(table.index) == [2, 3]
    assert table.logit_lens.tolist() == ["0.47 (0.41 to 0.53)", "0.57 (0.51 to 0.64)"]  # a third, a half of the way up
    assert table.linear_probe.tolist() == ["0.52 (0.46 to 0.58)", "0.62 (0.56 to 0.69)"]
    assert set(table.recovered) == {"60 %"} and set(table.cells) == {2}  # c = 1 was not unlearned
    other = changed(part, "cells", 0.1, layer=2, c=8.0, quantity="recovered_accuracy")
    assert csv_of(depths.looked_up_html([other])).recovered.tolist() == ["10 % to 60 %", "60 %"]
    marked = replace(part, cells=part.cells.assign(mark="collapsed"))
    assert csv_of(depths.looked_up_html([marked])).cells.tolist() == [0, 0]
    assert "did not look" in depths.looked_up_html([without(part, "depth")])


def test_base_models_that_know_more_before_the_layer_are_told_from_others(part):
    def said(orders: list[int]) -> str:
        rows = [
            (f"m{model}", layer, model + layer, own + layer) for model, own in enumerate(orders) for layer in (0, 9)
        ]
        return depths.looked_up_sentence(pd.DataFrame(rows, columns=["model", "layer", "known", "back"]))

    assert "Over 10 pairs" in said([0, 1, 2, 3, 4])
    assert "correlation of 1.00 (one-sided p = 0.008" in said([0, 1, 2, 3, 4])  # 1 of 120 orders
    assert "p = 1.000" in said([4, 3, 2, 1, 0]) and said([0, 1, 2]) == ""
    other = changed(part, "cells", 0.1, layer=2, c=8.0, quantity="recovered_accuracy")
    several = depths.looked_up_html([replace(other, model=name) for name in "abcd"])
    assert "<button>model</button>" in several and "<button>method</button>" not in several
    assert "correlation of 1.00 (one-sided p = 1.000" in several


def test_hostile_names_are_text(tmp_path):
    name = "<b>$\\frac{$</b>\u202e"
    tables = Tables(topics=(name, "south"), clearings=(name,), seeds=(0,))
    tables.weights = lambda: Tables(seeds=(0,)).weights().assign(tensor=HOSTILE)
    hostile = reporting.load(tables.write(tmp_path), name)[0]
    page = "".join(getattr(depths, section)(hostile) for section in SECTIONS)
    assert not {"b", "script", "img"} & set(Page(page).tags)
    assert "<b>$\\frac{$</b>" in "".join(Page(page).text)


def test_the_pages_open_with_their_answers(tmp_path_factory, tmp_path):
    folder = Tables(**ONE).write(tmp_path_factory.mktemp("one"))
    _, page = execute(folder, tmp_path, "depth")
    shown = check_page(page)
    text = "".join(shown.text)
    assert text.index("What stays below?") < text.index("(the shallow part)") < text.index("How it was measured")
    assert shown.tags.count("figure") == 5 and "depth.html" in shown.links
