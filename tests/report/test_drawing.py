"""Figures are whole, repeatable and in one style."""

from helpers.pages import Page
from helpers.synthetic import Tables
from helpers.views import replace

from overpaint.report import drawing
from overpaint.report.drawing import COLOURS
from overpaint.report.sections.activations import stream
from overpaint.report.sections.finding import accuracy, recovery


def test_colours_of_a_kind_agree_across_figures(view):
    lines = stream.draw(view).axes[0].lines
    assert [line.get_color() for line in lines[:3]] == [COLOURS[kind] for kind in ("base", "unlearned", "cleared")]


def test_dollar_signs_in_names_are_not_formulas(view):
    drawn = accuracy.draw(replace(view, scores=Tables(topics=("$\\frac{$",), seeds=(0,)).shown()))
    assert "$\\frac{$" in "".join(Page(drawing.svg(drawn)).text)


def test_saved_figures_are_whole_and_repeatable(view, tmp_path):
    for name in ("a.svg", "b.svg", "a.png", "a.pdf", "b.pdf"):
        drawing.save(recovery.draw(view), tmp_path / name)
    for kind in ("svg", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg", "b.pdf", "b.svg"]
