"""The recovered fraction in every cell, beside null directions."""

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, draw_interval, draw_key, figure, name_rows, nothing, panel_grid, plain
from overpaint.report.section import section
from overpaint.report.select import Cell, cells, cleared_by, first_where, hazardous_topics, in_cell, null_draws, pooled
from overpaint.report.view import View


@section
def show(view: View) -> Markup:
    """Recovered fraction in every cell."""
    return markup.figure(
        draw(view),
        "Recovered fraction of the lost accuracy, (cleared - unlearned) / (base - unlearned), per cell and hazardous "
        "topic, pooled over seeds, with 95 % bootstrap intervals. It is undefined where the loss is within two "
        "standard errors, or the interval wider than the whole loss. Grey: null draws, each pooled over seeds as "
        "well. Vertical lines: nothing and everything recovered.",
    )


@figure("recovery")
def draw(view: View) -> Figure:
    """Recovered fraction in every cell: the primary clearing in blue, the range of null draws in grey."""
    rows = view.scores[(view.scores.metric == "recovered_accuracy") & (view.scores.role == "hazardous")]
    sweep = cells(view.scores)
    if rows.empty or not sweep:
        return nothing("The scores table holds no recovered fractions.")
    topics = hazardous_topics(rows) or ["all"]
    rows = pooled(rows)
    drawn, grid = panel_grid(len(topics), 1.0 + 0.36 * len(sweep), sharex=True, sharey=True)
    for axes, topic in zip(grid, topics, strict=True):
        _panel(axes, rows[rows.topic == topic], sweep, view.primary)
        for edge in (0, 1):
            axes.axvline(edge, color="#BBBBBB", lw=0.8, zorder=0)
        axes.set(title=f"hazardous: {plain(topic)}", xlabel="recovered fraction")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelbottom=True)
        axes.spines["left"].set_visible(False)
    grid[0].set_xlim(*_limits(rows, view.primary))
    name_rows(grid[0], [str(cell) for cell in sweep], ["base"] * len(sweep))
    cleared, nulls = f"cleared: {view.primary}, 95 % interval", "null directions: range and draws"
    draw_key(drawn, [(cleared, "cleared"), (nulls, "null")])
    return drawn


def _limits(rows: pd.DataFrame, primary: str) -> tuple[float, float]:
    """All that is drawn, within -0.75 and 1.5."""
    drawn = cleared_by(rows, primary)[["value", "low", "high"]].to_numpy().ravel()
    drawn = np.concatenate([drawn, null_draws(rows).value, [0, 1]])
    return max(np.nanmin(drawn), -0.75) - 0.04, min(np.nanmax(drawn), 1.5) + 0.04


def _panel(axes: Axes, rows: pd.DataFrame, sweep: list[Cell], primary: str) -> None:
    """One topic: the primary clearing's fraction and the range of null draws, one row per cell."""
    for y, cell in enumerate(sweep):
        here = in_cell(rows, cell)
        row = first_where(cleared_by(here, primary))
        if row is None or pd.isna(row.value):
            text = "not measured" if row is None else "undefined"
            axes.text(0.02, y, text, color=COLOURS["null"], style="italic", va="center", fontsize=8)
            continue
        draws = null_draws(here).value.dropna()
        if len(draws):
            axes.plot(
                [draws.min(), draws.max()], [y + 0.22] * 2, color="#B0B0B0", lw=5, solid_capstyle="butt", zorder=1
            )
            axes.plot(draws, [y + 0.22] * len(draws), ".", color=COLOURS["null"], ms=4, mew=0, zorder=2)
        draw_interval(axes, y - 0.12, row, "cleared")
        axes.text(
            1.03,
            y,
            f"{row.value:.0%}",
            transform=axes.get_yaxis_transform(),
            color=COLOURS["cleared"],
            va="center",
            fontsize=8,
        )
