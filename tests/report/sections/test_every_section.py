"""Whatever a study lacks and whatever its names are, every section of every notebook shows something that is text."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from helpers.pages import NOTEBOOKS, Page
from helpers.synthetic import HOSTILE, ONE, TABLES, Tables
from helpers.views import STUDIES, replace, without

from overpaint.measures.agreement import page as agreement
from overpaint.measures.coherence import page as coherence
from overpaint.measures.depth import page as readout
from overpaint.measures.emergence import page as emergence
from overpaint.measures.perturbations import page as perturbations
from overpaint.measures.relearning import page as relearning
from overpaint.report import drawing
from overpaint.report.index import render_index
from overpaint.report.sections.activations import stream
from overpaint.report.sections.completions import continuations
from overpaint.report.sections.depth import shallow
from overpaint.report.sections.finding import headline
from overpaint.report.view import OF_FAMILY, View, load


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
LISTS = ("provenance.environment(views)", "provenance.settings(views)")  # an entry per job, so none without jobs


def words(page: str) -> str:
    """The text of a section beside its figures."""
    return re.sub("<.*?>", " ", re.sub("<(svg|script|style).*?</\\1>", "", page, flags=re.S))


def test_sections_are_found():
    assert {"headline.show(views)", 'stream.show(views, "first")', "provenance.jobs(views)"} <= set(CALLS)
    assert len(CALLS) > 25


@pytest.fixture
def quick(monkeypatch):
    """Figures are drawn all the same, but not written out."""
    monkeypatch.setattr(drawing, "svg", lambda drawn: "<svg></svg>")


@pytest.mark.parametrize("name", STUDIES)
def test_every_section_shows_something_for_every_study(name, tmp_path, quick):
    views = load(Tables(**STUDIES[name]).write(tmp_path), "topic")
    for call, show in CALLS.items():
        shown = words(show(views))
        assert shown.strip() and not re.search(r"\b(nan|None|inf)\b", shown), call
    assert not plt.get_fignums()  # nothing is left for a notebook to show twice


class Noted(dict):
    """Tables of a view; `read` has the names of those that were read."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        super().__init__(tables)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> pd.DataFrame:
        self.read.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        self.read.update(self.keys())
        return super().__iter__()


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> dict[str, set[str]]:
    """{call: the tables that its section reads}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "svg", lambda drawn: "<svg></svg>")
        views, found = load(Tables(**ONE).write(tmp_path_factory.mktemp("read")), "topic"), {}
        for call, show in CALLS.items():
            noted = [dataclasses.replace(view, tables=Noted(view.tables)) for view in views]
            show(noted)
            found[call] = set().union(*(view.tables.read for view in noted))
    assert set().union(*found.values(), OF_FAMILY) == set(TABLES)
    return found


@pytest.mark.parametrize("empty", [*(name for name in TABLES if name != "scores"), "all"])
def test_every_section_is_shown_whichever_table_is_empty(empty, tmp_path, request, read):
    """Of one table, the sections that read it: the others show what they showed."""
    if empty != "all":  # figures are written out in one case
        request.getfixturevalue("quick")
    Tables(**ONE).write(tmp_path)
    for name in TABLES if empty == "all" else [empty]:
        path = tmp_path / f"{name}.parquet"
        if name != "scores":  # without types, as a table that never had a row may be
            pd.DataFrame(columns=pd.read_parquet(path).columns).to_parquet(path)
    render_index(tmp_path, "topic", "synthetic", tmp_path / "index.html", tmp_path / "summary.txt")
    views = load(tmp_path, "topic", "synthetic")
    pages = {name: (tmp_path / name).read_text() for name in ("index.html", "summary.txt")}
    chosen = {call: show for call, show in CALLS.items() if empty == "all" or empty in read[call]}
    for call, shown in ({call: show(views) for call, show in chosen.items()} | pages).items():
        assert words(shown).strip() or call in LISTS, call
        assert not re.search(r"\b(nan|None|inf)\b", words(shown)), call


def test_hostile_names_are_text(tmp_path):
    name = "<b>$\\frac{$</b>\u202e"
    tables = Tables(topics=(name, "south"), clearings=(name,), seeds=(0,))
    tables.weights = lambda: Tables(seeds=(0,)).weights().assign(tensor=HOSTILE)
    views = load(tables.write(tmp_path), name)
    views[0].provenance["rule"] = views[0].provenance.output = HOSTILE
    for call, show in CALLS.items():
        page = Page(show(views))
        allowed = {"b"} if call == "claims.show(views)" else set()
        assert not {"b", "script", "img"} - allowed & set(page.tags) and not page.requests, call
    assert "<b>$\\frac{$</b>" in "".join(Page(headline.answer(views)).text)
    several = Page(headline.answer([*views, replace(views[0], model=HOSTILE)]))
    assert "h3" in several.tags and not {"script", "img"} & set(several.tags)


KEYS = {
    "depth": (readout, "study.measures.depth"), "relearning": (relearning, "study.measures.relearning"),
    "perturbations": (perturbations, "study.measures.perturbations"),
    "emergence": (emergence, "study.measures.emergence"), "coherence": (coherence, "study.measures.coherence"),
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
