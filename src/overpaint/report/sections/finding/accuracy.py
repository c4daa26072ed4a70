"""Accuracy before and after: base, unlearned, cleared and null-cleared models in the main cell."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.charts.dotplot import Line, draw_line, lines_of
from overpaint.report.drawing import CHANCE, figure, name_rows, nothing, panel_grid, plain
from overpaint.report.section import section
from overpaint.report.select import hazardous_topics, overall, with_base
from overpaint.report.view import View


@section
def show(view: View) -> Markup:
    """Main figure of the finding."""
    return markup.figure(
        draw(view),
        f"Accuracy at {view.cell}, pooled over seeds; n counts units of questions. Horizontal lines: 95 % bootstrap "
        "intervals over units. Grey dots: null draws, each on average over seeds, grey bars their mean. Dashed: "
        "chance, 0.25. Of other clearings than the primary those that were asked about all topics.",
    )


@figure("accuracy")
def draw(view: View) -> Figure:
    """Accuracy in the main cell, one panel per topic.

    Lines are 95 % bootstrap intervals, dots null draws on average over seeds, bars their means, the dashed line chance.
    """
    rows = with_base(view.scores[view.scores.metric == "accuracy"], view.cell)
    if rows.empty:
        return nothing("The scores table holds no accuracies of an unlearned model.")
    panels, lines = _panels(rows), lines_of(rows, view.primary, view.label)
    drawn, grid = panel_grid(len(panels), 0.75 + 0.23 * len(lines), sharex=True, sharey=True)
    for axes, (title, here) in zip(grid, panels, strict=True):
        _panel(axes, title, here, lines)
    bold = next((index for index, line in enumerate(lines) if line.kind == "cleared"), None)
    name_rows(grid[0], [line.text for line in lines], [line.kind for line in lines], bold)
    for axes in grid[1:]:
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    grid[0].annotate(
        "chance", (CHANCE, 1), xycoords=grid[0].get_xaxis_transform(), xytext=(2, -1), textcoords="offset points",
        fontsize=7.5, color="#666666", va="top",
    )  # fmt: skip
    return drawn


def _panels(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows per panel: each hazardous topic, and the benign ones together."""
    hazardous = rows[rows.role == "hazardous"]
    panels = [(f"hazardous: {plain(topic)}", hazardous[hazardous.topic == topic]) for topic in hazardous_topics(rows)]
    benign = overall(rows, "benign")
    topic = next(iter(benign.topic), "all")
    return panels + [("benign" if topic == "all" else f"benign: {plain(topic)}", benign)] * bool(len(benign))


def _panel(axes: Axes, title: str, rows: pd.DataFrame, lines: list[Line]) -> None:
    """One topic, asked by its first benchmark."""
    rows = rows[rows.benchmark == rows.benchmark.iloc[0]]
    for y, line in enumerate(lines):
        draw_line(axes, y, Line(line.text, line.kind, rows.loc[rows.index.intersection(line.rows.index)]))
    axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=1)
    n = f"n = {int(rows.n.max())}" if rows.n.notna().any() else ""
    axes.set_title(f"{title}\n{n}")
    axes.set(xlim=(0, 1.02), xlabel="accuracy", xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xticklabels(["0", ".25", ".5", ".75", "1"])
    axes.tick_params(labelbottom=True)
