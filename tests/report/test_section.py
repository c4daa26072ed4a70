"""What sections share: headings of several views, the cell that a table has, what was not measured."""

import pytest
from helpers.pages import Page
from helpers.views import MAIN, replace, without
from markupsafe import Markup

from overpaint.report.section import in_main_cell, lead, looked_at, section
from overpaint.report.select import Cell
from overpaint.report.view import MOST, closely


def test_views_have_headings_only_where_there_are_several(view):
    shown = section(lambda view: Markup("<p>{}</p>").format(view.model))
    assert shown([view]) == "<p>tiny</p>"
    several = shown([view, replace(view, model="<b>other</b>")])
    assert "<h3>tiny, RMU</h3><p>tiny</p>" in several and "<h3>&lt;b&gt;other&lt;/b&gt;, RMU</h3>" in several


def test_of_many_views_those_of_the_first_base_model_are_shown_one_by_one(view):
    shown = section(lambda view: Markup("<p>{}, {}</p>").format(view.model, view.method))
    models = [f"m{number}" for number in range(MOST // 2 + 1)]
    views = [replace(view, model=model, method=method) for model in models for method in ("rmu", "npo")]
    assert closely(views[:MOST]) == views[:MOST] and closely(views) == views[:2]
    text = shown(views)
    assert text.count("<p>m0, ") == 2 and "<p>m1" not in text
    assert "Shown is m0; of 4 more base models the tables hold the same." in text
    assert shown(views[:MOST]).count("<p>m1, ") == 2 and "Shown is" not in shown(views[:MOST])


@pytest.mark.parametrize("cell", [MAIN, Cell(3, 4.0), None])  # one run was relearned, in the main cell
def test_a_table_of_few_runs_is_shown_in_its_own_cell_with_its_seeds(view, cell):
    shown = looked_at("relearning", "relearning", "study.measures.relearning")(
        lambda view, shown: f"{shown.where}; {shown.n}"
    )
    assert shown([replace(view, cell=cell)]) == "layer 2, c = 8, 3 seeds pooled; n = 48 hazardous"
    assert "did not look at relearning; <code>study.measures.relearning</code>" in shown([without(view, "relearning")])


def test_a_table_of_every_run_is_shown_in_the_main_cell_alone(view):
    shown = in_main_cell("weights", missing="No <weights>.")(lambda view, rows: f"{rows.layer.unique().tolist()}")
    assert (shown([view]), shown([replace(view, cell=Cell(3, 4.0))])) == ("[2]", "[3]")
    for bare in (without(view, "weights"), replace(view, cell=None), replace(view, cell=Cell(9, 9.0))):
        assert "".join(Page(shown([bare])).text).strip() == "No <weights>."


def test_an_opening_sentence_is_escaped_and_not_broken_before_its_per_cent_signs():
    assert '<p class="lead">75&nbsp;% of &lt;b&gt;</p>' in lead("75 % of <b>")
