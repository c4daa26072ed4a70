"""What comes back over base models: each of them, their mean with its interval, and how much they differ."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, draw_interval, name_rows, nothing, panel_grid, styled
from overpaint.report.markup import Html, macros
from overpaint.report.select import Cell
from overpaint.report.view import View
from overpaint.report.wording import count, method_name, percent, points, share_of

NOTE = (
    "Of the hazardous accuracy that was lost, what clearing gives back, in base models where the cell has no mark. "
    "Dots: single base models, each trained by itself; diamond and line: their mean with its 95 % t interval "
    "by a hierarchical bootstrap: base models are resampled, and within each its seeds and units. spread: standard "
    "deviation between base models, in points."
)


def show(views: list[View]) -> Html:
    """The picture, a sentence and the numbers, or that there is one base model."""
    table = every(views)
    if table.empty:
        return Html(
            macros.paragraph(
                "There is one base model, or too little was lost in all but one: what others give back is not known."
            )
        )
    told = table.assign(method=[method_name(name) for name in table.method])
    columns = [*(name for name in ("method",) if told[name].nunique() > 1), "layer", "c", "models"]
    forms = dict.fromkeys(["value", "low", "high"], percent) | {"spread": points}
    shown = markup.table(told[[*columns, "value", "low", "high", "spread"]], "base_models", forms)
    picture = markup.figure(draw(table, every(views, "cells")), NOTE)
    return Html(picture + macros.paragraph(sentence(views)) + shown)


def every(views: list[View], name: str = "models") -> pd.DataFrame:
    """A table of all base models and methods, variants among them."""
    parts = [view.family[name] for view in views if name in view.family]
    return pd.concat(parts).drop_duplicates() if parts else pd.DataFrame()


def sentence(views: list[View]) -> str:
    """The means over base models at the headline's c, or at every one; nothing where there is one base model."""
    table, cell = every(views), views[0].cell
    if table.empty:
        return ""
    rows = table[table.method.isin([view.method for view in views])]
    here = rows[rows.c.eq(cell.c)] if cell is not None else rows
    several = rows.method.nunique() > 1
    texts = [
        f"{percent(row.value)} ({percent(row.low)} to {percent(row.high)}; {share_of(row)} above 0) at "
        f"{Cell(int(row.layer), row.c)}{' by ' + method_name(row.method) if several else ''}"
        for _, row in (here if len(here) else rows).iterrows()
    ]
    if not texts:
        return ""
    most = count(int(rows.models.max()), "base model")
    return f"On average over up to {most}, clearing gives back of what was lost: {'; '.join(texts)} (95 % intervals)."


@styled
def draw(models: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """A row per method, layer and c: the fractions of single base models, their mean and its interval.

    models: the table of that name.    cells: that of all base models.
    """
    rows = [row for _, row in models.iterrows()]
    if not rows:
        return nothing("There is one base model: what comes back over several is not known.")
    drawn, (axes,) = panel_grid(1, 0.6 + 0.3 * len(rows))
    back = cells[cells.quantity.eq("recovered_accuracy") & cells.mark.eq("") & cells.model.ne("all")]
    for y, row in enumerate(rows):
        _line(axes, y, row, back[back.method.eq(row.method) & back.layer.eq(row.layer) & back.c.eq(row.c)])
    several = models.method.nunique() > 1
    texts = [f"{row.method + ', ' if several else ''}{Cell(int(row.layer), row.c)}" for row in rows]
    name_rows(axes, texts, ["base"] * len(rows))
    axes.axvline(1, color="#999999", ls="--", lw=0.9, zorder=0)
    axes.axvline(0, color="#999999", lw=0.9, zorder=0)
    axes.set_xlabel("share of the lost hazardous accuracy that clearing gives back")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return drawn


def _line(axes: Axes, y: int, row: pd.Series, single: pd.DataFrame) -> None:
    """One row: single base models as dots, the mean with its interval, the number at the right."""
    axes.plot(single.value, [y] * len(single), ".", color=COLOURS["alternative"], ms=7, alpha=0.55, mew=0, zorder=2)
    draw_interval(axes, y, row, "cleared", marker="D", ms=6)
    axes.text(
        1.03, y, percent(row.value), transform=axes.get_yaxis_transform(), color=COLOURS["cleared"], va="center",
        fontsize=8,
    )  # fmt: skip
