"""Figures and reports against synthetic tables: what is drawn, what is said, what must not get through."""

import base64
import hashlib
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from synthetic import CONTROL, HOSTILE, ONE, Tables

from overpaint import depths, figures, maps, reporting
from overpaint.errors import UserError
from overpaint.figures import Cell

NOTEBOOKS = Path(__file__).parents[1] / "reports"
STUDIES = {
    "full": {},
    "one cell": ONE,
    "nothing cleared": {"clearings": (), "draws": 0, "sizes": (8.0,)},
    "no nulls": {**ONE, "draws": 0},
    "many": {
        "topics": tuple("abc"),
        "sizes": (1.0, 2.0, 4.0, 8.0, 16.0),
        "layers": (2,),
        "draws": 2,
        "seeds": (0,),
    },
}
SECTIONS = [
    "finding_answer",
    "accuracy_html",
    "headline_html",
    "recovery_html",
    "checks_html",
    "junk_html",
    "published_html",
    "activations_answer",
    "activations_html",
    "history_html",
    "completions_answer",
    "completions_html",
    "measured",
    "provenance_answer",
    "jobs_html",
    "environment_html",
    "settings_html",
]


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return Tables().scores()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return Tables().write(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def part(folder) -> reporting.Part:
    return reporting.load(folder, "topic", "synthetic")[0]


class Page(HTMLParser):
    """Elements, attributes and text of a page as a browser sees them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.links, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")]

    def handle_data(self, data):
        self.text.append(data)

    @property
    def requests(self) -> list[str]:
        """Everything that a browser would fetch or follow outside this folder."""
        return [link for link in self.links if link.startswith(("http", "//", "javascript", "file", "/"))]


def texts(drawn) -> list[str]:
    """Every text in a figure."""
    return [item.get_text() for axes in drawn.axes for item in axes.texts] + [text.get_text() for text in drawn.texts]


# ---------------------------------------------------------------- tables


def test_main_cell_has_largest_c_then_smallest_layer_whatever_is_recovered(scores):
    assert figures.main_cell(scores) == Cell(2, 8.0)
    better = scores.copy()
    better.loc[(better.layer == 3) & (better.metric == "recovered_accuracy"), "value"] = 1.0
    assert figures.main_cell(better) == Cell(2, 8.0)
    assert figures.main_cell(scores[scores.method == "base"]) is None


def test_pooled_prefers_the_row_of_all_seeds_and_gives_no_interval_to_a_mean(scores):
    rows = figures.in_cell(scores, Cell(2, 8.0))
    rows = figures.cleared_by(rows[(rows.topic == "all") & (rows.metric == "accuracy")], "topic")
    marked = rows.assign(value=[0.1, 0.2, 0.6, 0.9])
    assert figures.pooled(marked).value.tolist() == [0.9]
    assert figures.pooled(marked).low.notna().all()
    mean = figures.pooled(marked[marked.seed != "all"])
    assert mean.value.tolist() == pytest.approx([0.3])
    assert mean.low.isna().all()


def test_null_draws_are_single_draws_and_the_ones_vector(scores):
    rows = figures.in_cell(scores, Cell(2, 8.0))
    found = figures.null_draws(rows)
    names = {figures.shown_name(*pair) for pair in zip(found.clearing, found.draw, strict=True)}
    assert len(names) == 21
    assert {"ones", "draw 0 of rand", "draw 9 of randn"} <= names
    assert not names & {"rand", "randn", "topic", "none"}


# ---------------------------------------------------------------- figures


def test_accuracy_draws_one_panel_per_topic_with_base_first_and_every_draw(scores):
    drawn = figures.accuracy(scores, Cell(2, 8.0), "topic")
    titles = [axes.get_title("left").split("\n")[0] for axes in drawn.axes]
    assert titles == ["hazardous: north", "hazardous: south", "benign: plain"]
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels[:3] == ["base", "RMU", "cleared: topic"]
    dots = [line for line in drawn.axes[0].lines if line.get_marker() == "." and len(line.get_xdata()) == 10]
    assert len(dots) == 2  # rand and randn, ten draws each
    base = next(line for line in drawn.axes[0].lines if line.get_marker() == "s")
    assert base.get_xdata()[0] == pytest.approx(0.97)
    assert base.get_color() == figures.COLOURS["base"]


def test_accuracy_leaves_clearings_out_that_were_asked_less_than_the_primary(scores):
    less = scores[~((scores.clearing == "pooled") & (scores.role == "benign"))]
    drawn = [figures.accuracy(table, Cell(2, 8.0), "topic") for table in (scores, less)]
    shown = [[label.get_text() for label in one.axes[0].get_yticklabels()] for one in drawn]
    assert "cleared: pooled" in shown[0] and "cleared: pooled" not in shown[1] and "cleared: span" in shown[1]


def test_recovery_says_undefined_only_where_it_is(scores):
    drawn = figures.recovery(scores, "topic")
    assert texts(drawn).count("undefined") == 2  # one cell, two topics
    assert "undefined" not in texts(figures.recovery(Tables(undefined=()).scores(), "topic"))


def test_published_numbers_are_labelled_and_hollow(scores):
    drawn = figures.published(scores, Cell(2, 8.0), "topic")
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["published: WMDP-Bio", "published: WMDP-Cyber", "here: north", "here: south"]
    hollow = [line.get_xdata()[0] for line in drawn.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert hollow == [0.71, 0.45]
    assert "another model" in drawn.get_supxlabel()


def test_activations_use_a_log_scale_only_where_the_range_is_wide():
    table = Tables().activations()
    narrow = figures.activations(table, Cell(2, 8.0), "topic")
    assert {axes.get_yscale() for axes in narrow.axes} == {"linear"}
    wide = table.copy()
    hit = (wide.method == "rmu") & (wide.clearing == "none") & (wide.depth > 2) & (wide.role == "hazardous")
    wide.loc[hit, ["norm", "norm_low", "norm_high"]] *= 100
    drawn = figures.activations(wide, Cell(2, 8.0), "topic")
    assert [axes.get_yscale() for axes in drawn.axes] == ["log"] * 3 + ["linear"] * 3
    assert len({axes.get_ylim() for axes in drawn.axes[:3]}) == 1


def test_colours_of_a_kind_agree_across_figures(scores):
    lines = figures.activations(Tables().activations(), Cell(2, 8.0), "topic").axes[0].lines
    assert [line.get_color() for line in lines[:3]] == [
        figures.COLOURS[kind] for kind in ("base", "unlearned", "cleared")
    ]


@pytest.mark.parametrize("name", STUDIES)
def test_every_section_renders_for_every_study(name, tmp_path):
    folder = Tables(**STUDIES[name]).write(tmp_path)
    parts = reporting.load(folder, "topic")
    for section in SECTIONS:
        assert reporting.each(parts, getattr(reporting, section)), section
    assert not plt.get_fignums()  # nothing is left for a notebook to show twice


def test_figures_of_empty_tables_say_so(scores):
    nothing = [
        figures.accuracy(scores[:0], None, "topic"),
        figures.recovery(scores[:0], "topic"),
        figures.activations(Tables().activations()[:0], None, "topic"),
        figures.history(Tables().history()[:0], None),
        figures.junk(Tables().junk()[:0], None),
    ]
    assert all(" no " in text for drawn in nothing for text in texts(drawn))
    figures.published(scores[:0], None, "topic")
    assert {name for name, draw in figures.FIGURES.items() if draw.__module__ == figures.__name__} == {
        "accuracy",
        "recovery",
        "activations",
        "history",
        "junk",
        "published",
    }


def test_dollar_signs_in_names_are_not_formulas():
    drawn = figures.accuracy(Tables(topics=("$\\frac{$",), seeds=(0,)).scores(), Cell(2, 8.0), "topic")
    assert "$\\frac{$" in "".join(Page(figures.svg(drawn)).text)


def test_saved_figures_are_whole_and_repeatable(scores, tmp_path):
    for name in ("a.svg", "b.svg", "a.png", "a.pdf", "b.pdf"):
        figures.save(figures.recovery(scores, "topic"), tmp_path / name)
    for kind in ("svg", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg", "b.pdf", "b.svg"]


def test_save_figures_writes_each_figure_three_times(tmp_path_factory, tmp_path):
    folder = Tables(**ONE).write(tmp_path_factory.mktemp("one"))
    paths = reporting.save_figures(folder, "topic", "synthetic", tmp_path, depths.all_figures, maps.all_figures)
    assert {path.stem for path in paths} == {*figures.FIGURES, "activations_first", "map"} - {"over_c_and_layer"}
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert {path.suffix for path in paths} == {".svg", ".pdf", ".png"}


# ---------------------------------------------------------------- sentences


def test_headline_gives_the_numbers_of_the_tables(scores):
    forgetting, recovered, aligned = reporting.headline(scores, Tables().junk(), "topic")
    assert "64.0 points" in forgetting and "61.0 to 67.0" in forgetting and "within the 3 points" in forgetting
    assert "60 %" in recovered and "51 % to 68 %" in recovered
    assert "more than each of 21 null directions" in recovered
    assert "rank-1 share" in aligned and "above its null range" in aligned


def test_headline_flips_when_a_null_beats_the_clearing():
    tables = Tables(beaten=True)
    text = reporting.headline(tables.scores(), tables.junk(), "topic")[1]
    assert "does not beat every null" in text
    assert "more than each" not in text


@pytest.mark.parametrize(
    ("settings", "index", "said"),
    [
        ({"undefined": ((2, 8.0),)}, 1, "is undefined: the gap to base is within 2 standard errors"),
        ({"damage": 0.08}, 0, "more than the 3 points allowed"),
        ({"damage": -0.01}, 0, "benign accuracy rose by 1.0 points (95 % interval -2.0 to 4.0)"),
        ({"share": 0.05}, 1, "cannot be told from nothing"),
        ({"draws": 0}, 1, "no null direction was measured"),
        ({"clearings": ("pooled",)}, 1, "No recovered fraction of the clearing 'topic'"),
        ({"sizes": (0.1,)}, 0, "no measurable accuracy"),
    ],
)
def test_headline_says_plainly(settings, index, said, scores):
    tables = Tables(**settings)
    assert said in reporting.headline(tables.scores(), tables.junk(), "topic")[index]
    assert said not in reporting.headline(scores, Tables().junk(), "topic")[index]


def test_headline_without_junk_or_runs(scores):
    assert "were not measured" in reporting.headline(scores, Tables().junk()[:0], "topic")[2]
    assert len(reporting.headline(scores[scores.method == "base"], Tables().junk()[:0], "topic")) == 1


def test_nulls_are_known_by_their_kind_and_not_by_their_names(scores):
    names = {"rand": "v1.2", "randn": "topics", "ones": "none_but_ones"}
    odd = scores.assign(clearing=scores.clearing.replace(names))
    assert "more than each of 21 null directions" in reporting.headline(odd, Tables().junk(), "topic")[1]
    expected = reporting.checks(scores, "topic").best_null_accuracy
    assert reporting.checks(odd, "topic").best_null_accuracy.tolist() == expected.tolist()
    [axes, *_] = figures.accuracy(odd, Cell(2, 8.0), "topic").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-3:] == ["null: none_but_ones", "random: v1.2", "random: topics"]
    treated = scores.assign(kind=scores.kind.replace({"null": "alternative"}))
    assert "no null direction was measured" in reporting.headline(treated, Tables().junk(), "topic")[1]


def test_the_junk_direction_is_found_by_the_kind_of_the_primary_clearing_and_not_by_its_name(scores):
    tables = Tables(topics=("north",))
    told = [reporting.headline(scores, tables.junk(), name, None, "pooled")[2] for name in ("topic", "contrast")]
    assert all("The junk direction 'pooled'" in text for text in told)
    assert "The junk direction 'topic'" in reporting.headline(scores, tables.junk(), "pooled")[2]


def test_checks_follow_accuracies_averaged_over_seeds(scores):
    table = reporting.checks(scores, "topic").set_index(["layer", "c"])
    assert table.beats_every_null.to_dict() == {
        cell: "undefined" if cell == (2, 1.0) else "yes" for cell in [(i, c) for i in (2, 3) for c in (1.0, 4.0, 8.0)]
    }
    assert table.benign_within_3_points.eq("yes").all()
    # One seed in which one draw does very well turns its mean, and the answer, around.
    lucky = scores.copy()
    here = (lucky.layer == 2) & (lucky.c == 8) & (lucky.metric == "accuracy")
    here &= (lucky.clearing == "rand") & lucky.draw.eq(3).fillna(False)
    lucky.loc[here & (lucky.seed == "1") & (lucky.topic == "all"), "value"] = 3.0
    row = reporting.checks(lucky, "topic").set_index(["layer", "c"]).loc[(2, 8.0)]
    assert (row.beats_every_null, row.best_null_name) == ("no", "draw 3 of rand")
    worse = reporting.checks(Tables(damage=0.08).scores(), "topic")
    assert worse.benign_within_3_points.eq("no").all()


def test_load_names_what_is_missing(folder, tmp_path):
    with pytest.raises(UserError, match="cells.parquet does not exist"):
        reporting.load(tmp_path, "topic")
    with pytest.raises(UserError, match="no rows of study 'other'; it holds synthetic"):
        reporting.load(folder, "topic", "other")


def test_jobs_outside_version_control_are_counted_not_called_clean(part):
    known = reporting.provenance_answer(part)
    assert "1 of them with uncommitted changes" in known and "outside version control" not in known
    for missing in (None, pd.NA):
        jobs = part.provenance.astype({"git": object, "dirty": object})
        jobs.loc[0, ["git", "dirty"]] = missing
        unknown = replace(part, provenance=jobs)
        assert "1 of them outside version control" in reporting.provenance_answer(unknown)
        assert reporting.jobs_html(unknown).count(reporting.NO_VALUE) == 2


def test_two_models_become_two_parts(tmp_path):
    folder = Tables(**ONE).write(tmp_path)
    for name in reporting.TABLES:
        table = pd.read_parquet(folder / f"{name}.parquet")
        pd.concat([table, table.assign(model="small")]).to_parquet(folder / f"{name}.parquet")
    parts = reporting.load(folder, "topic")
    assert [part.model for part in parts] == ["tiny", "small"]
    assert all(set(part.scores.model) == {part.model} for part in parts)
    page = reporting.each(parts, reporting.finding_answer)
    assert "<h3>tiny, RMU</h3>" in page and "<h3>small, RMU</h3>" in page


# ---------------------------------------------------------------- untrusted text


def test_hostile_text_is_text_and_the_control_passes():
    shown = Page(reporting.untrusted(HOSTILE))
    assert shown.tags == ["div"]
    assert not shown.links
    text = "".join(shown.text)
    for piece in (
        "<script>alert(1)</script>",
        "**bold**",
        "$\\frac{1}{2}$",
        "[link](javascript:alert(1))",
        "שלום",
    ):
        assert piece in text
    assert "\x1b" not in text and "\u202e" not in text and "\r" not in text
    assert "\u27e8U+001B\u27e9[31m" in text and "\u27e8U+202E\u27e9" in text
    assert "".join(Page(reporting.untrusted(CONTROL)).text) == CONTROL
    assert CONTROL in reporting.untrusted(CONTROL)
    # The parser does see hostile markup where nothing escapes it.
    assert "script" in Page(HOSTILE).tags and Page(HOSTILE).requests


def test_hostile_names_and_settings_are_escaped(folder):
    parts = reporting.load(folder, "<b>x</b>", "synthetic")
    page = "".join(reporting.each(parts, getattr(reporting, section)) for section in SECTIONS)
    assert not {"b", "script", "img"} & set(Page(page).tags)
    assert "<b>x</b>" in "".join(Page(page).text)


# ---------------------------------------------------------------- pages


def check_page(path: Path) -> Page:
    """A page asks for nothing outside its folder, runs one script alone and has no code in it."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.requests
    assert not {"img", "link", "iframe"} & set(page.tags)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert scripts == [reporting.SCRIPT] and page.tags.count("script") == 1  # the one that sorts tables
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in text
    assert "@import" not in text and "url(http" not in text
    assert "import reporting" not in "".join(page.text)
    return page


def execute(folder: Path, where: Path, name: str, notebook: Path | None = None, **parameters) -> tuple[Path, Path]:
    executed, page = where / "logs" / f"{name}.ipynb", where / "reports" / f"{name}.html"
    values = {"tables": folder, "primary": "topic", "study": "synthetic", **parameters}
    reporting.execute_report(notebook or NOTEBOOKS / f"{name}.ipynb", values, executed, page, name.title())
    return executed, page


def test_a_notebook_becomes_a_page(folder, tmp_path):
    executed, page = execute(folder, tmp_path, "completions")
    shown = check_page(page)
    text = "".join(shown.text)
    assert CONTROL in text and "<script>alert(1)</script>" in text
    assert "finding.html" in shown.links
    assert [path.name for path in page.parent.iterdir()] == ["completions.html"]
    book = nbformat.read(executed, as_version=4)
    assert any(
        "synthetic" in cell.source for cell in book.cells if "injected-parameters" in cell.metadata.get("tags", [])
    )


def test_a_failed_notebook_leaves_its_log_and_no_page(folder, tmp_path):
    page = tmp_path / "reports" / "finding.html"
    page.parent.mkdir()
    page.write_text("an older page")
    with pytest.raises(UserError, match=r"finding.ipynb failed .* no rows of study 'absent'.*finding.ipynb") as caught:
        execute(folder, tmp_path, "finding", study="absent")
    assert "\x1b" not in str(caught.value)
    assert not page.exists()
    book = nbformat.read(tmp_path / "logs" / "finding.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in book.cells for output in cell.get("outputs", []))


def test_the_kernel_is_the_running_interpreter(folder, tmp_path):
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    )
    code = "import sys, warnings, overpaint\nwarnings.warn('loud')\nprint(sys.executable, overpaint.__file__)"
    book.cells = [
        nbformat.v4.new_code_cell("tables = primary = study = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(code),
    ]
    nbformat.write(book, tmp_path / "who.ipynb")
    _, page = execute(folder, tmp_path, "who", tmp_path / "who.ipynb")
    text = "".join(check_page(page).text)
    assert sys.executable in text and reporting.__file__.replace("reporting", "__init__") in text
    assert "loud" not in text  # warnings stay in the executed notebook


def test_index_and_summary(folder, tmp_path):
    index, summary = tmp_path / "reports" / "index.html", tmp_path / "reports" / "summary.txt"
    reporting.render_index(folder, "topic", "synthetic", index, summary, description="About <this> study.")
    page = check_page(index)
    text = " ".join(page.text)
    assert "About <this> study." in text
    assert {"finding.html", "provenance.html", "../tables/scores.csv"} <= set(page.links)
    lines = summary.read_text().splitlines()
    assert len(lines) <= 12 and str(index) in lines[0]
    for sentence in reporting.headline(Tables().scores(), pd.read_parquet(folder / "junk.parquet"), "topic")[:1]:
        assert sentence in text and any(sentence in line for line in lines)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stripped_and_only_call(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    parameters = next(cell for cell in code if "parameters" in cell.metadata.get("tags", []))
    assert {"tables", "primary", "study"} <= {line.split(" =")[0] for line in parameters.source.splitlines()}
    modules = {"report": reporting, "depths": depths}
    names = [name for cell in code for name in re.findall(r"(report|depths)\.(\w+)", cell.source)]
    assert len(names) > 3 and all(hasattr(modules[module], name) for module, name in names)
