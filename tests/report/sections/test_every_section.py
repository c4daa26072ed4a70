"""Whatever a study lacks and whatever its names are, every section of every notebook shows something that is text."""

import re
from collections.abc import Callable
from dataclasses import replace

import matplotlib.pyplot as plt
import nbformat
import pytest
from helpers.pages import NOTEBOOKS, Page
from helpers.views import STUDIES, without
from synthetic import HOSTILE, Tables

from overpaint.report.sections.activations import stream
from overpaint.report.sections.completions import agreement, coherence, continuations
from overpaint.report.sections.depth import emergence, readout, relearning, shallow
from overpaint.report.sections.finding import headline
from overpaint.report.view import TABLES, View, load


def calls() -> dict[str, Callable[[list[View]], str]]:
    """Every call of a section in a notebook: {its text: what it shows of views}."""
    found = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        _, imports, *cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
        space = {}
        exec(imports.rsplit("\n", 1)[0], space)
        found |= {cell: (lambda views, cell=cell, space=space: eval(cell, space | {"views": views})) for cell in cells}
    return found


CALLS = calls()


def words(page: str) -> str:
    """The text of a section beside its figures."""
    return re.sub("<.*?>", " ", re.sub("<svg.*?</svg>", "", page, flags=re.S))


def test_sections_are_found():
    assert {"headline.show(views)", 'stream.show(views, "first")', "provenance.jobs(views)"} <= set(CALLS)
    assert len(CALLS) > 25


@pytest.mark.parametrize("name", STUDIES)
def test_every_section_shows_something_for_every_study(name, tmp_path):
    views = load(Tables(**STUDIES[name]).write(tmp_path), "topic")
    for call, show in CALLS.items():
        shown = words(show(views))
        assert shown.strip() and not re.search(r"\b(nan|None|inf)\b", shown.replace("None,", "")), call
    assert not plt.get_fignums()  # nothing is left for a notebook to show twice


def test_every_section_is_shown_where_all_tables_but_the_scores_are_empty(view):
    bare = without(view, *(name for name in TABLES if name not in ("scores", "provenance")))
    for call, show in CALLS.items():
        shown = words(show([bare]))
        assert shown.strip() and not re.search(r"\b(nan|None|inf)\b", shown), call


def test_hostile_names_are_text(tmp_path):
    name = "<b>$\\frac{$</b>\u202e"
    tables = Tables(topics=(name, "south"), clearings=(name,), seeds=(0,))
    tables.weights = lambda: Tables(seeds=(0,)).weights().assign(tensor=HOSTILE)
    views = load(tables.write(tmp_path), name)
    views[0].provenance["rule"] = views[0].provenance.output = HOSTILE
    for call, show in CALLS.items():
        page = Page(show([*views, replace(views[0], model=HOSTILE)]))
        allowed = {"b"} if call == "claims.show(views)" else set()
        assert not {"b", "script", "img"} - allowed & set(page.tags) and not page.requests, call
    assert "<b>$\\frac{$</b>" in "".join(Page(headline.answer(views)).text)


KEYS = {
    "depth": (readout, "study.depth"), "relearning": (relearning, "study.relearn"),
    "emergence": (emergence, "study.emergence"), "coherence": (coherence, "study.coherence"),
    "agreement": (agreement, "study.evaluate"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_what_the_study_did_not_look_at_is_one_sentence_with_its_key(view, name):
    part, key = KEYS[name]
    page = part.show([without(view, name)])
    assert key in page and "did not look" in page and page.count("<p>") == 1 and "<svg" not in page
    assert "did not look" not in part.show([view])


def test_a_marked_main_cell_is_warned_of_where_a_page_opens(view):
    here = (view.cells.layer == view.cell.layer) & (view.cells.c == view.cell.c)
    marked = replace(view, cells=view.cells.assign(mark=view.cells.mark.mask(here, "collapsed")))
    elsewhere = replace(view, cells=view.cells.assign(mark=view.cells.mark.mask(~here, "collapsed")))
    for opening in (headline, shallow, stream, continuations):
        assert "Beware: the plan leaves this cell out as collapsed" in opening.answer([marked])
        for other in (elsewhere, replace(marked, cells=view.cells[:0])):
            assert "Beware" not in opening.answer([other])
