"""The map, the clearings beside the primary one and the verdicts are shown as the tables have them."""

import ast
import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from checkout import ROOT
from matplotlib.figure import Figure
from synthetic import HOSTILE, ONE, PLAN, Tables
from test_reporting import texts

from overpaint import depths, figures, maps, reporting
from overpaint.figures import Cell
from overpaint.reporting import Part

STUDIES = {
    "full": {},
    "one cell": ONE,
    "nothing cleared": {"clearings": (), "draws": 0},
    "nothing forgotten": {"undefined": tuple((layer, c) for layer in (2, 3) for c in (1.0, 4.0, 8.0))},
    "collapsed": {"damage": 0.3},
}
SETTINGS = {
    "topic": {"direction": "topic", "scope": "all", "dose": 1},
    "writes": {"direction": "span", "scope": "writes", "dose": 1},
    "half": {"direction": "span", "scope": "writes", "dose": 0.5},
    "more": {"direction": "span", "scope": "writes", "dose": 1.5},
    "top_1": {"direction": "top_k", "rank": 1},
    "top_4": {"direction": "top_k", "rank": 4},
    "benign": {"direction": "benign"},
}


def parts_of(tables: Tables, folder, settings: dict | None = None) -> list[Part]:
    tables.write(folder)
    if settings:
        (folder / "config.json").write_text(json.dumps({"study": {}, "clearings": settings}))
    return reporting.load(folder, tables.primary)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> list[Part]:
    return parts_of(Tables(), tmp_path_factory.mktemp("tables"))


# --- the map


def test_every_study_has_a_map_and_verdicts(tmp_path):
    for name, settings in STUDIES.items():
        parts = parts_of(Tables(**settings), tmp_path / name)
        shown = [maps.map_answer, maps.map_html, maps.clearings_html, maps.chance_html]
        assert all("<" in reporting.each(parts, show) for show in shown)
        assert "claim" in reporting.hypotheses_html(parts) and maps.all_figures(parts[0])


def test_a_cell_shows_its_value_and_half_its_interval(parts):
    drawn = maps.over_c_and_layer(parts[0].cells)
    panels = {axes.get_title(loc="left"): [text.get_text() for text in axes.texts] for axes in drawn.axes}
    assert panels["Forgetting, points"] == ["8\n\u00b13", "32\n\u00b13", "64\n\u00b13"] * 2
    assert panels["Recovered, % of lost"][1] == "60\n\u00b18" and panels["Recovered, % of lost"][0] == "unde-\nfined"


def test_marked_cells_are_hatched_and_others_are_not(parts):
    def hatched(cells: pd.DataFrame) -> list[list[tuple]]:
        return [[patch.get_xy() for patch in axes.patches] for axes in maps.over_c_and_layer(cells).axes[:5]]

    marked = [(0, 0), (0, 1)]  # c = 1 of both layers lost 8 points, fewer than 10
    assert set(parts[0].cells.mark[parts[0].cells.c == 1]) == {"not unlearned"}
    assert hatched(parts[0].cells) == [marked] * 5
    assert not any(hatched(parts[0].cells.assign(mark="")))


def test_the_answer_leaves_marked_cells_out_and_counts_them(parts):
    said = maps.map_answer(parts[0])
    assert "Over 4 cells" in said and "Left out: 2 cells not unlearned." in said
    cells = parts[0].cells.copy()
    here = (cells.quantity == "recovered_accuracy") & (cells.c == 4) & (cells.layer == 3)
    cells.loc[here, ["value", "low", "high"]] = [0.9, 0.8, 0.95]
    said = html.unescape(maps.map_answer(replace(parts[0], cells=cells))).replace("\xa0", " ")
    assert "90 % (95 % interval 80 % to 95 %; layer 3, c = 4)" in said


def c_grounds(drawn: Figure) -> np.ndarray:
    """Shares of the darkest ground in the panel of c, by layer and c."""
    [panel] = [axes for axes in drawn.axes if axes.get_title(loc="left").startswith("c in units")]
    mesh = panel.collections[0]
    return np.asarray(mesh.norm(mesh.get_array()), dtype=float).reshape(2, 3)


def test_base_models_share_the_scale_of_c(parts):
    cells = parts[0].cells.assign(mark="")
    other = cells.assign(value=2 * cells.value)
    assert np.allclose(c_grounds(maps.over_c_and_layer(cells))[:, -1], 1, atol=0.01)
    assert np.allclose(c_grounds(maps.over_c_and_layer(cells, pd.concat([cells, other])))[:, -1], 0.5, atol=0.01)
    shown = maps.maps_html([parts[0], replace(parts[0], model="other", cells=other)])
    assert shown.count("<figure>") == 2 and "other" in shown


def test_numbers_are_legible_on_every_ground():
    assert maps._legible("#EEEEEE") == maps._legible("#E69F63") == "#333333"
    assert maps._legible("#1F4E79") == maps._legible("black") == "white"


def test_a_marked_main_cell_is_warned_of_where_a_page_opens(parts):
    cells = parts[0].cells.copy()
    here = (cells.layer == parts[0].cell.layer) & (cells.c == parts[0].cell.c)
    marked = replace(parts[0], cells=cells.assign(mark=cells.mark.mask(here, "collapsed")))
    elsewhere = replace(parts[0], cells=cells.assign(mark=cells.mark.mask(~here, "collapsed")))
    pages = [
        reporting.finding_answer, depths.depth_answer, reporting.activations_answer, reporting.completions_answer,
    ]  # fmt: skip
    for answer in pages:
        assert "Beware: the plan leaves this cell out as collapsed" in answer(marked)
        assert "Beware" not in answer(elsewhere) and "Beware" not in answer(replace(marked, cells=cells[:0]))


def test_the_summary_warns_of_a_marked_main_cell(tmp_path):
    for damage, warned in [(0.02, False), (0.5, True)]:
        folder = Tables(damage=damage).write(tmp_path / str(damage))
        reporting.render_index(folder, "topic", "synthetic", folder / "index.html", folder / "summary.txt")
        lines = (folder / "summary.txt").read_text().splitlines()
        assert len(lines) <= 12 and any("out as collapsed" in line for line in lines) == warned


def test_an_empty_table_of_cells_says_so():
    assert "holds no unlearned model" in " ".join(texts(maps.over_c_and_layer(Tables().cells()[:0])))


# --- clearings


def test_ranks_and_doses_are_found_by_what_clearings_are():
    assert maps.by_rank(SETTINGS, SETTINGS) == {1: "top_1", 4: "top_4"}
    assert maps.by_dose(SETTINGS, SETTINGS) == {0.5: "half", 1: "writes", 1.5: "more"}
    assert maps.by_dose(["topic", "writes", "benign"], SETTINGS) == {}
    assert maps.by_rank(["unknown"], {}) == {} and maps.by_dose(["unknown"], {}) == {}


def test_the_figure_of_clearings_has_a_row_each_and_a_curve_over_rank_and_dose():
    tables = Tables(clearings=tuple(SETTINGS), layers=(2,), sizes=(8.0,))
    scores = tables.scores()
    high = (scores.clearing == "top_4") & (scores.metric == "recovered_accuracy")
    scores.loc[high, ["value", "low", "high"]] = [0.9, 0.85, 0.95]
    drawn = maps.clearings(scores, Cell(2, 8.0), "topic", SETTINGS)
    rows, rank, dose = drawn.axes
    assert [label.get_text() for label in rows.get_yticklabels()] == ["topic", "benign", "ones"]
    assert list(rank.lines[0].get_xdata()) == [1, 4] and list(dose.lines[0].get_xdata()) == [0.5, 1, 1.5]
    assert rank.get_ylim() == dose.get_ylim()
    assert len(maps.clearings(tables.scores(), Cell(2, 8.0), "topic", {}).axes) == 1
    assert "No recovered fraction" in " ".join(texts(maps.clearings(tables.scores(), None, "topic", SETTINGS)))


def test_the_caption_tells_of_curves_only_where_they_are_drawn(tmp_path):
    one_cell = {"layers": (2,), "sizes": (8.0,)}
    [curved] = parts_of(Tables(clearings=tuple(SETTINGS), **one_cell), tmp_path / "curved", SETTINGS)
    [plain] = parts_of(Tables(**one_cell), tmp_path / "plain", SETTINGS)
    assert "Rank: the first k" in maps.clearings_html(curved) and "Dose: the share" in maps.clearings_html(curved)
    assert "Rank:" not in maps.clearings_html(plain) and "Dose:" not in maps.clearings_html(plain)


# --- chance


def test_the_sentence_on_chance_has_the_numbers_of_the_tables(parts):
    said = maps.chance_sentence(parts[0])
    nulls = parts[0].nulls
    row = nulls[
        (nulls.seed == "all") & (nulls.topic == "all") & (nulls.kind == "primary") & (nulls.metric == "accuracy")
        & (nulls.layer == parts[0].cell.layer) & (nulls.c == parts[0].cell.c) & (nulls.null == "randn")
    ].iloc[0]  # fmt: skip
    assert "accuracy after clearing 'topic'" in said
    assert f"{row.z:.1f} standard deviations above the mean of 10 draws of randn (p = 0.091;" in said
    assert "of 64 units 24 were gained and 3 lost (exact McNemar test: p = 0.0001, p = 0.0004 after Holm" in said


def test_the_exact_test_stands_in_a_table_where_it_was_made(parts):
    heads = ["n", "gained", "lost", "p", "p holm"]
    shown = maps.chance_html(parts[0])
    assert re.findall("<button>(.*?)</button>", shown)[-5:] == heads and "mcnemar.csv" in shown
    [cells] = [row for row in re.findall("<tr>(.*?)</tr>", shown) if ">24</td>" in row]
    assert re.findall(">([^<>]+)</td>", cells)[:3] == ["64", "24", "3"]
    assert "mcnemar.csv" not in maps.chance_html(replace(parts[0], mcnemar=parts[0].mcnemar[:0]))


def test_a_clearing_worse_than_chance_is_said_to_be_below_it():
    assert maps._times(-1.23) == "1.2 standard deviations below" and maps._times(1.23).endswith("above")
    assert maps._times(np.nan) == maps._times(np.inf) == "an unknown number of standard deviations from"


def test_without_nulls_and_tests_that_is_said(tmp_path):
    [part] = parts_of(Tables(**STUDIES["nothing cleared"]), tmp_path)
    assert maps.chance_sentence(part) == "Neither null directions nor exact tests were run in this cell."


# --- verdicts


def test_verdicts_of_another_study_are_called_exploratory(parts):
    shown = reporting.hypotheses_html(parts)
    assert "Exploratory: the plan was not written for this study" in shown and "Confirmatory" not in shown
    assert "a plan that was not fixed for this study" in reporting.verdict_sentence(parts)


def test_verdicts_of_the_study_that_was_planned_are_called_confirmatory(tmp_path):
    tables = Tables()
    tables.write(tmp_path)
    tables.hypotheses().assign(confirmatory=True).to_parquet(tmp_path / "hypotheses.parquet")
    parts = reporting.load(tmp_path, "topic")
    assert "Confirmatory: the plan was fixed" in reporting.hypotheses_html(parts)
    assert "fixed before the study ran" in reporting.verdict_sentence(parts)


def test_verdicts_stand_beside_their_claims_and_the_model_only_where_there_are_several(parts):
    other = replace(parts[0], model="other", hypotheses=parts[0].hypotheses.assign(model="other"))

    def heads(shown: list[Part]) -> list[str]:
        return re.findall("<button>(.*?)</button>", reporting.hypotheses_html(shown))

    assert heads(parts) == ["claim", "verdict", "cells", "value", "needed"]
    assert heads([*parts, other]) == ["claim", "verdict", "model", "cells", "value", "needed"]


def test_hostile_claims_are_text(parts):
    table = parts[0].hypotheses.assign(claim=HOSTILE, model=HOSTILE)
    shown = reporting.hypotheses_html([replace(parts[0], hypotheses=table)])
    assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown


def test_verdicts_are_counted(tmp_path):
    tables = Tables()
    tables.write(tmp_path)
    verdicts = ["holds", "holds", "fails", "too few cells"]
    tables.hypotheses().assign(verdict=verdicts).to_parquet(tmp_path / "hypotheses.parquet")
    said = reporting.verdict_sentence(reporting.load(tmp_path, "topic"))
    assert said.endswith(": 2 hold, 1 fails, 1 with too few cells.")


def test_over_several_models_the_joint_verdict_counts(tmp_path):
    tables = Tables(**ONE)
    tables.write(tmp_path)
    for name in reporting.TABLES:
        table = pd.read_parquet(tmp_path / f"{name}.parquet")
        pd.concat([table, table.assign(model="other")]).to_parquet(tmp_path / f"{name}.parquet")
    judged = pd.read_parquet(tmp_path / "hypotheses.parquet")
    joint = judged[judged.model == "tiny"].assign(model="all", verdict="undecided", value=np.nan)
    pd.concat([judged, joint]).to_parquet(tmp_path / "hypotheses.parquet")
    parts = reporting.load(tmp_path, "topic")
    assert "4 undecided" in reporting.verdict_sentence(parts)
    assert reporting.hypotheses_html(parts).count("<tr>") == 1 + 3 * len(joint)
    assert reporting.hypotheses_html(parts, every=False).count("<tr>") == 1 + len(joint)
    models = re.findall(r"<td>(tiny|other|all)</td>", reporting.hypotheses_html(parts))
    assert models == ["tiny"] * len(joint) + ["other"] * len(joint) + ["all"] * len(joint)


def test_the_plan_is_quoted_whole_with_its_hash_and_date(parts, tmp_path):
    shown = reporting.plan_html(parts[0])
    digest = hashlib.sha256(PLAN.read_bytes()).hexdigest()
    assert f"fixed on 2026-11-26, SHA-256 {digest}" in shown and "layer_over_c" in shown
    parts_of(Tables(**ONE), tmp_path)
    (tmp_path / "plan.yaml").write_text(HOSTILE)
    hostile = reporting.plan_html(reporting.load(tmp_path, "topic")[0])
    assert "<script" not in hostile and "&lt;script&gt;" in hostile and "without a date" in hostile
    (tmp_path / "plan.yaml").unlink()
    assert "No plan" in reporting.plan_html(reporting.load(tmp_path, "topic")[0])


# --- whatever is missing


def page_of(notebook: Path, folder: Path) -> str:
    """What the cells of a notebook show, as their page does."""
    shown, names = "", {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            *before, last = ast.parse(cell.source).body
            exec(compile(ast.Module(before, []), notebook.name, "exec"), names)
            if isinstance(last, ast.Expr):
                shown += eval(compile(ast.Expression(last.value), notebook.name, "eval"), names)
            else:
                exec(compile(ast.Module([last], []), notebook.name, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= {"tables": str(folder), "primary": "topic", "study": "synthetic"}
    return shown


@pytest.mark.parametrize("empty", [*(name for name in reporting.TABLES if name != "scores"), "all"])
def test_every_page_is_shown_whichever_table_is_empty(empty, tmp_path, monkeypatch):
    if empty != "all":  # figures are made all the same, and written out in one case
        monkeypatch.setattr(figures, "svg", lambda drawn: "<svg></svg>")
    Tables(**ONE).write(tmp_path)
    for name in reporting.TABLES if empty == "all" else [empty]:
        path = tmp_path / f"{name}.parquet"
        if name != "scores":  # without types, as a table that never had a row may be
            pd.DataFrame(columns=pd.read_parquet(path).columns).to_parquet(path)
    reporting.render_index(tmp_path, "topic", "synthetic", tmp_path / "index.html", tmp_path / "summary.txt")
    pages = [page_of(path, tmp_path) for path in sorted((ROOT / "reports").glob("*.ipynb"))]
    for shown in [*pages, (tmp_path / "index.html").read_text(), (tmp_path / "summary.txt").read_text()]:
        words = re.sub("<.*?>", " ", re.sub("<(svg|script|style).*?</\\1>", "", shown, flags=re.S))
        assert words.strip() and not re.search(r"\b(nan|None|inf)\b", words)
