"""What unlearning costs: forgetting and recovery over benign damage, along a method and its variants."""

from collections.abc import Iterator
from itertools import cycle

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, draw_key, figure, nothing, panel_grid, plain
from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import Cell
from overpaint.report.view import View
from overpaint.report.wording import count, points
from overpaint.tables.verdicts import CHOSEN

PANELS = {
    "forgotten_accuracy": ("hazardous accuracy lost, points", "unlearned"),
    "recovered_accuracy": ("of it given back, %", "cleared"),
}
COLUMNS = {
    "damage_fit": "benign_lost_on_fit",
    "damage": "benign_lost",
    "damage_in_corpus": "in_corpus",
    "damage_unseen": "unseen",
    "forgotten_accuracy": "hazardous_lost",
    "recovered_accuracy": "recovered",
}
STYLES = ("-", "--", ":", "-.")


@section
def show(view: View) -> Markup:
    """The curves over damage, which setting is chosen within the budget, and its numbers."""
    curves = dict(_curves(view.family))
    if not curves:
        return macros.not_measured("what variants of its method cost", "study.runs")
    note = (
        "Points of benign accuracy lost on the split that is shown, against points of hazardous accuracy lost (left) "
        f"and the share of them that clearing '{view.primary}' gives back (right); a line per layer and c, a mark per "
        "variant, with 95 % bootstrap intervals. Ringed: chosen on the split `fit`, as the variant that forgets most "
        "within the budget of benign damage, or that damages least where none is within it. Where the recovered "
        "fraction is undefined there is no mark."
    )
    return markup.figure(draw(view), note) + macros.paragraph(sentence(view)) + markup.table(numbers(view), "damage")


def sentence(view: View) -> str:
    """Which variants are chosen, and whether their damage on the shown split is within their interval of the budget."""
    chosen = view.family[view.family.choice.ne("") & view.family.quantity.eq("damage")]
    over = chosen[chosen.choice.ne(CHOSEN)]
    texts = [f"{row.method} at {Cell(int(row.layer), row.c)} costs {_bounds(row)}" for row in chosen.itertuples()]
    text = f"Chosen on `fit`, {count(len(chosen), 'cell')}; on the shown split: {'; '.join(texts)} points."
    return text + (f" None was within the budget in {count(len(over), 'cell')}." if len(over) else "")


def numbers(view: View) -> pd.DataFrame:
    """A row per layer, c and variant: points lost by part, and per cent given back."""
    rows = []
    for (layer, c, method), cell in view.family.groupby(["layer", "c", "method"], sort=False):
        named = cell.set_index("quantity")
        row = {"layer": layer, "c": f"{c:g}", "method": method, "choice": cell.choice.iloc[0]}
        row |= {title: _bounds(named.loc[name]) for name, title in COLUMNS.items() if name in named.index}
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["layer", "c"], kind="stable")


def _bounds(row: pd.Series) -> str:
    """`3.1 (1.2 to 5.0)`, in points or per cent."""
    return "–" if pd.isna(row.value) else f"{points(row.value)} ({points(row.low)} to {points(row.high)})"


def _curves(family: pd.DataFrame) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """(layer and c, a row per variant with its quantities, the least damage first) where there are several variants."""
    wide = family.pivot_table(
        index=["layer", "c", "method", "choice"], columns="quantity", values=["value", "low", "high"], dropna=False
    ).dropna(how="all")
    for (layer, c), rows in wide.groupby(["layer", "c"]):
        if len(rows) > 1 and ("value", "damage") in rows:
            yield Cell(int(layer), c), rows.sort_values(("value", "damage")).reset_index()


@figure("damage")
def draw(view: View) -> Figure:
    """Points forgotten, and the share given back, over points of benign accuracy lost; a line per layer and c."""
    curves = dict(_curves(view.family))
    if not curves:
        return nothing("The study has no variants of a method, or asks no benign questions.")
    drawn, grid = panel_grid(len(PANELS), 2.9)
    styles = dict(zip(curves, cycle(STYLES)))
    for axes, (quantity, (title, kind)) in zip(grid, PANELS.items(), strict=True):
        for cell, rows in curves.items():
            _curve(axes, rows, quantity, kind, styles[cell])
        axes.set(title=title, xlabel="benign accuracy lost, points")
    draw_key(drawn, [(plain(cell), "base", style) for cell, style in styles.items()])
    return drawn


def _curve(axes: Axes, rows: pd.DataFrame, quantity: str, kind: str, style: str) -> None:
    """One line with its intervals and the variants' names."""
    at, height = 100 * rows["value", "damage"], 100 * rows["value", quantity]
    spans = [(at - 100 * rows["low", "damage"], 100 * rows["high", "damage"] - at)]
    spans += [(height - 100 * rows["low", quantity], 100 * rows["high", quantity] - height)]
    across, along = (pd.concat(span, axis=1).clip(lower=0).to_numpy().T for span in spans)
    axes.errorbar(at, height, along, across, color=COLOURS[kind], elinewidth=0.6, lw=1.4, ls=style, marker="o", ms=3.5)
    ringed = rows["choice"] != ""
    axes.plot(at[ringed], height[ringed], "o", ms=9, mfc="none", mec=COLOURS["base"], mew=1.2)
    for x, y, method in zip(at, height, rows["method"], strict=True):
        if pd.notna(y):
            axes.annotate(plain(method), (x, y), (4, 4), textcoords="offset points", fontsize=7, color="#666666")
