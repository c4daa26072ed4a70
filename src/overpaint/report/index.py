"""The overview page, the summary for the terminal and the figures for papers."""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from overpaint.report import drawing, sections
from overpaint.report.markup import visible
from overpaint.report.pages import page_html, write_text
from overpaint.report.section import warning
from overpaint.report.sections import measured, provenance, split
from overpaint.report.sections.finding import accuracy, checks, headline
from overpaint.report.sections.map import base_models, claims, layers
from overpaint.report.view import View, closely, load


def render_index(
    tables: Path, primary: str, study: str, index: Path, summary: Path, shown_as: Path | None = None
) -> None:
    """Write the overview page and the summary that the terminal shows at the end.

    Args:
        tables: folder of the tables.
        primary, study: name of the primary clearing and of the study.
        index, summary: the page (`index.html`) and the plain text of at most 12 lines.
        shown_as: the address of the page that the summary names, by default `index`.
    """
    views, index = load(tables, primary, study), Path(index)
    shown = {
        "answer": split.answer(views) or headline.answer(views),
        "split": split.show(views),
        "accuracy": accuracy.show(views),
        "headline": headline.show(views),
        "verdict": claims.sentence(views),
        "claims": claims.final(views),
        "layers": layers.sentence(views),
        "base_models": base_models.show(views) if len(base_models.every(views)) else "",
        "checks": checks.show(views),
        "measured": measured.show(views),
        "tables": sorted(views[0].tables),
    }
    title = f"How deep is unlearning? Study '{study}'"
    write_text(index, page_html(title, index.name, "index.html.j2", **shown))
    write_text(Path(summary), _summary(views, study, shown_as or index))


def _summary(views: list[View], study: str, index: Path) -> str:
    """Plain text of at most 12 lines: the path and the first view's three sentences."""
    view = views[0]
    lines = [f"Study '{study}': {index}"]
    lines += [f"{n}. {visible(text)}" for n, text in enumerate(headline.sentences(view), 1)]
    lines += filter(None, [warning(view), provenance.kept(view)])
    lines.append(claims.sentence(views))
    if len(views) > 1:
        lines.append(f"The numbers are of {view.model}; the page holds {len(views) - 1} more.")
    return "\n".join(lines) + "\n"


def figures() -> dict[str, Callable[[View], Figure]]:
    """Every figure of every section and of the measures whose pages are imported, by the name of its files."""
    for module in pkgutil.walk_packages(sections.__path__, f"{sections.__name__}."):
        importlib.import_module(module.name)
    return drawing.FIGURES


def save_figures(tables: Path, primary: str, study: str, folder: Path) -> list[Path]:
    """Write every figure of the study as .svg, .pdf and .png and return their paths.

    With several models or methods the names carry both: `accuracy.tiny.rmu.svg`; see `closely` for how many are drawn.
    """
    views = load(tables, primary, study)
    paths = []
    if len(over := base_models.every(views)):
        paths += _save(base_models.draw(over, base_models.every(views, "cells")), Path(folder), "base_models")
    for view in closely(views):
        suffix = f".{view.model}.{view.method}" if len(views) > 1 else ""
        for name, draw in figures().items():
            paths += _save(draw(view), Path(folder), f"{name}{suffix}")
    return paths


def _save(drawn: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure in all formats."""
    paths = [folder / f"{name}.{kind}" for kind in ("svg", "pdf", "png")]
    for path in paths:
        drawing.save(drawn, path)
        drawn.set_layout_engine("none")  # laid out once for all formats
    return paths
