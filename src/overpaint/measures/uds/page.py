"""What of each answer is untouched, painted over, or beneath the paint: the unlearning depth score."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, draw_band, draw_key, figure, name_rows, nothing, panel_grid
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, cells, first_where, in_cell, overall, pooled
from overpaint.report.view import View
from overpaint.report.wording import number, percent, two

# part of an answer: (colour, what it is)
PARTS = {
    "untouched": ("base", "never touched"),
    "painted_over": ("cleared", "painted over"),
    "beneath": ("unlearned", "beneath: clearing does not give it back"),
}
KINDS = {"unlearned": "unlearned", "cleared": "cleared"}


@looked_at("uds", "how much of the answers is missing from what the model writes", "study.measures.uds")
def show(view: View, shown: Shown) -> Markup:
    """The three parts of every cell, the score by block in the main one, and all scores."""
    caption = (
        "Left: the base goes on from what another model's block has written where the answer is predicted; what that "
        "costs, as a share of what the states of a model that never knew cost, is the unlearning depth score (UDS). "
        "Grey: 1 - UDS of the unlearned model; blue: what clearing takes off its score; vermilion: UDS of the cleared "
        f"model; lines: 95 % bootstrap intervals; all hazardous questions, {shown.seeds}. Right: the score block by "
        f"block at {shown.cell}, with 95 % bands; grey: cleared of null directions in the junk's place; dotted: the "
        "target block."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption) + markup.table(_numbers(view), "uds")


def sentence(view: View) -> str:
    """The three parts in the main cell."""
    rows = _whole(view, cell_shown(view.uds, view.cell))
    parts = {name: number(first_where(rows, quantity=name), percent) for name in PARTS}
    return (
        f"By activation patching at {cell_shown(view.uds, view.cell)} (95 % intervals in brackets), "
        f"{parts['untouched']} of the answers was never touched, {parts['painted_over']} painted over, and "
        f"{parts['beneath']} is not given back by clearing '{view.primary}'."
    )


def _whole(view: View, cell: object) -> pd.DataFrame:
    """Rows of a cell on all hazardous questions together, over all blocks."""
    rows = pooled(in_cell(view.uds[view.uds.part == "all"], cell))
    return overall(rows[rows.block.isna()], "hazardous")


def _numbers(view: View) -> pd.DataFrame:
    """Every cell: UDS in each state, on either part of the questions where there are parts."""
    rows = []
    for cell in cells(view.uds):
        here = pooled(in_cell(view.uds, cell))
        here = overall(here[here.block.isna() & here.quantity.eq("uds")], "hazardous")
        for part, mine in here.groupby("part", sort=False):
            row = {"layer": str(cell.layer), "c": f"{cell.c:g}", "questions": part}
            rows.append(row | {state: number(value, two) for state, value in _by_state(mine)})
    return pd.DataFrame(rows)


def _by_state(rows: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    return [(state, first_where(rows, state=state)) for state in rows.state.unique()]


@figure("uds")
def draw(view: View) -> Figure:
    """The three parts per cell as bars, and the score by block in the main cell."""
    listed = cells(view.uds)
    if not listed:
        return nothing("The table uds holds no rows of an unlearned model.")
    main = cell_shown(view.uds, view.cell)
    drawn, (bars, lines) = panel_grid(2, max(2.2, 1.2 + 0.28 * len(listed)), columns=2, width_ratios=[3, 2])
    for y, cell in enumerate(listed):
        _bar(bars, y, _whole(view, cell))
    bold = next((y for y, cell in enumerate(listed) if cell == main), None)
    name_rows(bars, [str(cell) for cell in listed], ["base"] * len(listed), bold)
    bars.set(xlim=(0, 1), xlabel="share of the answers")
    bars.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _blocks(lines, view, main)
    draw_key(drawn, [(text, kind) for kind, text in PARTS.values()])
    return drawn


def _bar(axes: Axes, y: int, rows: pd.DataFrame) -> None:
    """The parts of one cell, the first from the left; intervals of both borders between them."""
    start = 0.0
    for name, (kind, _) in PARTS.items():
        row = first_where(rows, quantity=name)
        if row is None:
            return
        axes.barh(y, row.value, left=start, color=COLOURS[kind], alpha=0.75, height=0.6, lw=0)
        if row.value > 0.08:
            axes.text(start + row.value / 2, y, percent(row.value), color="white", ha="center", va="center", fontsize=7)
        start += row.value
    left, right = first_where(rows, quantity="untouched"), first_where(rows, quantity="beneath")
    axes.plot([left.low, left.high], [y - 0.36] * 2, color=COLOURS["base"], lw=1.2)
    axes.plot([1 - right.high, 1 - right.low], [y + 0.36] * 2, color=COLOURS["unlearned"], lw=1.2)


def _blocks(axes: Axes, view: View, cell: object) -> None:
    """The score by block: unlearned, cleared, and cleared of nulls."""
    rows = pooled(in_cell(view.uds[view.uds.part.eq("all") & view.uds.quantity.eq("share")], cell))
    rows = overall(rows, "hazardous")
    for state in rows.state.unique():
        draw_band(axes, rows[rows.state == state], "block", KINDS.get(state, "null"))
    axes.axvline(cell.layer, color="#999999", ls=":", lw=1, zorder=0)
    axes.set(ylim=(0, 1.03), xlabel="block", title="missing by block")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
