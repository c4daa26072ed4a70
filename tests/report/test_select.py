"""Rows of the tables: the main cell, seeds pooled, null draws."""

import pytest
from helpers.views import MAIN

from overpaint.report import select
from overpaint.report.select import Cell
from overpaint.report.wording import shown_name


def test_main_cell_has_largest_c_then_smallest_layer_whatever_is_recovered(scores):
    assert select.main_cell(scores) == Cell(2, 8.0)
    better = scores.copy()
    better.loc[(better.layer == 3) & (better.metric == "recovered_accuracy"), "value"] = 1.0
    assert select.main_cell(better) == Cell(2, 8.0)
    assert select.main_cell(scores[scores.method == "base"]) is None


def test_a_table_of_few_runs_shows_its_own_cell(view):
    assert select.cell_shown(view.depth, MAIN) == MAIN
    assert select.cell_shown(view.depth, Cell(3, 4.0)) == MAIN
    assert select.cell_shown(view.scores, Cell(3, 4.0)) == Cell(3, 4.0)


def test_pooled_prefers_the_row_of_all_seeds_and_gives_no_interval_to_a_mean(scores):
    rows = select.in_cell(scores, Cell(2, 8.0))
    rows = select.cleared_by(rows[(rows.topic == "all") & (rows.metric == "accuracy")], "topic")
    marked = rows.assign(value=[0.1, 0.2, 0.6, 0.9])
    assert select.pooled(marked).value.tolist() == [0.9] and marked.answers.nunique() == 2
    assert select.pooled(marked).low.notna().all()
    mean = select.pooled(marked[marked.seed != "all"])
    assert mean.value.tolist() == pytest.approx([0.3])
    assert mean.low.isna().all()


def test_null_draws_are_single_draws_and_the_ones_vector(scores):
    rows = select.in_cell(scores, Cell(2, 8.0))
    found = select.null_draws(rows)
    names = {shown_name(*pair) for pair in zip(found.clearing, found.draw, strict=True)}
    assert len(names) == 21
    assert {"ones", "draw 0 of rand", "draw 9 of randn"} <= names
    assert not names & {"rand", "randn", "topic", "none"}
