"""What each cell lost, split into what clearing gives back (shallow) and what it does not (deep)."""

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import CHANCE, COLOURS, MARKERS, draw_key, figure, name_rows, nothing, panel_grid
from overpaint.report.markup import macros
from overpaint.report.section import lead, section
from overpaint.report.select import (
    Cell,
    ceiling,
    cells,
    cleared_by,
    first_or_none,
    first_where,
    in_cell,
    mark,
    overall,
    pooled,
)
from overpaint.report.view import View
from overpaint.report.wording import interval, percent, points


@section
def answer(view: View) -> Markup:
    """What stays below, in the main cell."""
    if view.cell is None:
        return lead("Nothing was unlearned, so nothing lies below.")
    return lead(sentence(view), view)


def sentence(view: View) -> str:
    """Shallow and deep part in the main cell, with the recovered fraction's interval."""
    table = shallow_and_deep(view)
    here = table[[Cell(row.layer, row.c) == view.cell for row in table.itertuples()]] if len(table) else table
    row = first_or_none(here)
    if row is None or pd.isna(row.unlearned):
        return "The accuracy of base and unlearned model on hazardous questions was not measured."
    lost = points(row.base - row.unlearned)
    size = f"At {view.cell}, unlearning took {lost} points of accuracy on hazardous questions"
    if pd.isna(row.cleared):
        return f"{size}; clearing '{view.primary}' was not measured, so how deep they lie is unknown."
    text = (
        f"{size}: clearing '{view.primary}' gives {points(row.shallow)} of them back (the shallow part) "
        f"and {points(row.deep)} it does not (the deep part)"
    )
    if pd.isna(row.recovered):
        reason = row.note.removeprefix("undefined: ") or "it was not measured"
        return f"{text}; the recovered fraction is undefined: {reason}."
    bounds = pd.Series({"low": row.recovered_low, "high": row.recovered_high})
    return f"{text}, a recovered fraction of {percent(row.recovered)} ({interval(bounds, percent)})."


@section
def show(view: View) -> Markup:
    """Shallow and deep parts of every cell."""
    n = next(iter(shallow_and_deep(view).get("n", [])), None)
    units = "" if n is None else f", n = {int(n)} units"
    return macros.paragraph(beside_ceiling(view)) + markup.figure(
        draw(view),
        f"Accuracy on all hazardous questions{units}, seeds pooled; thin lines: 95 % bootstrap intervals. Blue: "
        f"what clearing '{view.primary}' gives back (shallow, points of accuracy); vermilion: what it "
        "does not (deep). Recovered: shallow as a share of both, with its interval in per cent; undefined where the "
        "loss is within two standard errors, or the interval wider than the whole loss. Dashed: chance, 0.25. Bold: "
        "the main cell.",
    )


def beside_ceiling(view: View) -> str:
    """What the same clearing leaves of the base's answers, and the recovered fraction of what then can come back."""
    table = shallow_and_deep(view)
    here = first_or_none(table[[Cell(row.layer, row.c) == view.cell for row in table.itertuples()]])
    if here is None or pd.isna(here.ceiling) or pd.isna(here.recovered):
        return "What the same clearing leaves of the base's answers was not measured, or no fraction is defined."
    return (
        f"At {view.cell}, the same clearing leaves the base {percent(here.ceiling)} of the answers to hazardous "
        f"questions (uncleared: {percent(here.base)}); up to that ceiling, what comes back is "
        f"{percent(here.shallow / (here.ceiling - here.unlearned))} of what can."
    )


def shallow_and_deep(view: View) -> pd.DataFrame:
    """Shallow and deep part of what each cell forgot, on all hazardous questions, seeds pooled.

    Columns: layer, c; base, unlearned, cleared (accuracies), low and high of each (`cleared_low`), n; shallow = cleared
    - unlearned, deep = base - cleared; ceiling (accuracy of the base when it is cleared alike); recovered,
    recovered_low, recovered_high, note; mark of the table `cells`.
    """
    accuracy = view.scores[view.scores.metric == "accuracy"]
    base = first_or_none(overall(accuracy[accuracy.method == "base"], "hazardous"))
    return pd.DataFrame([] if base is None else [_parts(view, cell, base) for cell in cells(view.scores)])


def _parts(view: View, cell: Cell, base: pd.Series) -> dict:
    rows = pooled(in_cell(view.scores, cell))
    here, back = (overall(rows[rows.metric == name], "hazardous") for name in ("accuracy", "recovered_accuracy"))
    estimates = {
        "base": base,
        "unlearned": first_where(here, clearing="none"),
        "cleared": first_where(cleared_by(here, view.primary)),
        "recovered": first_where(cleared_by(back, view.primary)),
    }
    row = {"layer": cell.layer, "c": cell.c, "n": base.n, "mark": mark(view.cells, cell)}
    for name, value in estimates.items():
        for column, end in [("value", ""), ("low", "_low"), ("high", "_high")]:
            row[name + end] = np.nan if value is None else value[column]
    ceilings = ceiling(here, view.clearings, view.primary)
    row["ceiling"] = ceilings.value.iloc[0] if len(ceilings) else np.nan
    row |= {"shallow": row["cleared"] - row["unlearned"], "deep": row["base"] - row["cleared"]}
    return row | {"note": "" if estimates["recovered"] is None else str(estimates["recovered"].note)}


@figure("shallow_deep")
def draw(view: View) -> Figure:
    """What each cell lost, split by what clearing gives back, one row per cell."""
    table = shallow_and_deep(view)
    table = table if table.empty else table[table.cleared.notna() & table.unlearned.notna()].reset_index(drop=True)
    if table.empty:
        return nothing("The scores table holds no cell with base, unlearned and cleared accuracy.")
    drawn, (axes,) = panel_grid(1, 1.1 + 0.3 * len(table))
    for y, row in enumerate(table.itertuples()):
        _row(axes, y, row)
    _columns(axes, -0.7, ["shallow", "deep", "recovered"])
    names = [str(Cell(row.layer, row.c)) + (f" ({row.mark})" if row.mark else "") for row in table.itertuples()]
    bold = next((y for y, row in enumerate(table.itertuples()) if Cell(row.layer, row.c) == view.cell), None)
    name_rows(axes, names, ["base"] * len(names), bold)
    axes.axvline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    axes.set_xlabel("accuracy on hazardous questions")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    draw_key(drawn, [(view.label, "unlearned", ""), ("cleared", "cleared", ""), ("base", "base", "")], marked=True)
    return drawn


def _row(axes: Axes, y: int, row: tuple) -> None:
    """One cell: both parts as bars, the models as markers with intervals, the numbers at the right."""
    for start, end, kind in [(row.unlearned, row.cleared, "cleared"), (row.cleared, row.base, "unlearned")]:
        axes.plot([start, end], [y, y], color=COLOURS[kind], lw=7, alpha=0.35, solid_capstyle="butt", zorder=1)
    for kind in ("base", "unlearned", "cleared"):
        low, high = getattr(row, f"{kind}_low"), getattr(row, f"{kind}_high")
        axes.plot([low, high], [y, y], color=COLOURS[kind], lw=1, zorder=2)
        axes.plot([getattr(row, kind)], [y], MARKERS[kind], color=COLOURS[kind], ms=5.5, zorder=3)
    share = "undefined" if pd.isna(row.recovered) else _share(row)
    _columns(axes, y, [points(row.shallow), points(row.deep), share])


def _columns(axes: Axes, y: float, texts: list[str]) -> None:
    """Texts on shallow part, deep part and recovered fraction at the right of a row."""
    for text, offset, kind in zip(texts, (10, 52, 84), ("cleared", "unlearned", "base"), strict=True):
        axes.annotate(
            text, (1, y), (offset, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            color=COLOURS[kind], va="center", fontsize=8,
        )  # fmt: skip


def _share(row: tuple) -> str:
    """`82 % (66 to 94)`."""
    bounds = "" if pd.isna(row.recovered_low) else f" ({100 * row.recovered_low:.0f} to {100 * row.recovered_high:.0f})"
    return f"{100 * row.recovered:.0f} %{bounds}"
