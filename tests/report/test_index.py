"""The overview page, the summary, and the figures of all sections."""

import pandas as pd
from helpers.pages import check_page, texts
from helpers.synthetic import ONE, Tables
from helpers.views import replace, without

from overpaint.report import index
from overpaint.report.sections.finding import headline

NAMES = {
    "accuracy", "activations", "activations_first", "agreement", "clearings", "coherence", "damage", "emergence",
    "history", "junk", "map", "map_at_budget", "perturbations", "published", "read_off", "recovery", "relearning",
    "shallow_deep", "shift_cosines", "shift_size", "split", "uds", "weights",
}  # fmt: skip


def test_index_and_summary(folder, view, tmp_path):
    page_path, summary = tmp_path / "reports" / "index.html", tmp_path / "reports" / "summary.txt"
    index.render_index(folder, "topic", "synthetic", page_path, summary)
    page = check_page(page_path)
    text = " ".join(page.text)
    assert {"finding.html", "provenance.html", "../tables/scores.csv"} <= set(page.links)
    lines = summary.read_text().splitlines()
    assert len(lines) <= 12 and str(page_path) in lines[0]
    for sentence in headline.sentences(view)[:1]:
        assert sentence in text and any(sentence in line for line in lines)


def test_the_summary_warns_of_a_marked_main_cell(tmp_path):
    for damage, warned in [(0.02, False), (0.5, True)]:
        folder = Tables(damage=damage).write(tmp_path / str(damage))
        index.render_index(folder, "topic", "synthetic", folder / "index.html", folder / "summary.txt")
        lines = (folder / "summary.txt").read_text().splitlines()
        assert len(lines) <= 12 and any("out as collapsed" in line for line in lines) == warned


def test_save_figures_writes_each_figure_three_times(tmp_path_factory, tmp_path):
    folder = Tables(**ONE).write(tmp_path_factory.mktemp("one"))
    paths = index.save_figures(folder, "topic", "synthetic", tmp_path)
    assert {path.stem for path in paths} == set(index.figures()) == NAMES
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert {path.suffix for path in paths} == {".svg", ".pdf", ".png"}


def test_figures_of_empty_tables_say_so(view):
    bare = without(view, *view.tables)
    for empty in (bare, replace(bare, cell=None)):
        for name in NAMES - {"published"}:
            assert [text for text in texts(index.figures()[name](empty)) if " no " in text or "No " in text], name
        index.figures()["published"](empty)


def test_names_of_studies_are_escaped(tmp_path):
    folder = Tables(**ONE).write(tmp_path)
    for path in folder.glob("*.parquet"):
        pd.read_parquet(path).assign(study="<b>x</b>").to_parquet(path)
    index.render_index(folder, "topic", "<b>x</b>", folder / "index.html", folder / "summary.txt")
    text = (folder / "index.html").read_text()
    assert "<b>x</b>" not in text and text.count("&lt;b&gt;x&lt;/b&gt;") == 2  # in the title and the head
