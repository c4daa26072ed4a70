"""Relearning: what comes back by fine-tuning on texts about other facts, and what comes back by nothing."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.measures.relearning.table import SPLIT
from overpaint.report import markup
from overpaint.report.drawing import CHANCE, COLOURS, draw_band, figure, label_ends, nothing, panel_grid
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, cells, first_where, overall, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import NO_VALUE, STATES, count, number, per_state, percent, state_name

TITLES = {"hazardous": "hazardous texts", "benign": "benign texts"}


@looked_at("relearning", "relearning", "study.measures.relearning")
def show(view: View, shown: Shown) -> Markup:
    """Relearning curves, and what was painted over, displaced and gone in every cell."""
    caption = (
        "Hazardous questions after fine-tuning on texts about other facts, each seen once, at "
        f"{shown.where}, {shown.n} units; bands: 95 % bootstrap intervals. At each point, of any model, the largest "
        "accuracy over the learning rates. The cleared model keeps its clearing. The scale of texts is logarithmic "
        "beyond its first step. Dashed: chance, 0.25."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption) + _split(view)


def sentence(view: View) -> str:
    """Accuracy before and after the largest number of texts."""
    rows = _best(rows_shown(view.relearning, view.cell))
    first, last = (rows[rows.examples == pick] for pick in (rows.examples.min(), rows.examples.max()))
    few, many = _texts(rows.examples.min()), _texts(rows.examples.max())
    after = (f"after {name} ones {per_state(last, percent, texts=name)}" for name in TITLES)
    return (
        f"Fine-tuning at {cell_shown(view.relearning, view.cell)} (95 % intervals in brackets): accuracy on hazardous "
        f"questions with {few} is {per_state(first, percent)}; with {many} per topic, each at its best learning rate, "
        f"{'; '.join(after)}."
    )


def _best(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracies on all hazardous topics together, with the best rate."""
    rows = overall(rows, "hazardous")
    return rows[rows.metric.eq("accuracy") & rows.lr.isna()]


def _texts(number: float) -> str:
    return "no text" if number == 0 else count(int(number), "text")


def _split(view: View) -> Markup:
    """What was painted over, displaced and gone, of every cell that was looked into."""
    rows = []
    for cell in cells(view.relearning):
        here = overall(rows_shown(view.relearning, cell), "hazardous")
        shares = {name: first_where(here, metric=name) for name in SPLIT}
        values = {name: NO_VALUE if row is None else number(row, percent) for name, row in shares.items()}
        rows.append({"layer": str(cell.layer), "c": f"{cell.c:g}", **values})
    return markup.table(pd.DataFrame(rows), "painted_over_displaced_gone")


@figure("relearning")
def draw(view: View) -> Figure:
    """Accuracy by texts seen in fine-tuning, with the best rate, by kind of texts."""
    rows = rows_shown(view.relearning, view.cell)
    if rows.empty:
        return nothing("The relearning table holds no rows of an unlearned model.")
    rows = _best(rows)
    panels = [name for name in TITLES if rows.texts.eq(name).any()]
    drawn, grid = panel_grid(len(panels), 2.6, columns=2)
    examples = sorted(rows.examples.unique())
    for axes, name in zip(grid, panels, strict=True):
        axes.set_xscale("symlog", linthresh=max(1, next((n for n in examples if n > 0), 1)))
        ends = _lines(axes, rows[rows.texts == name])
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.axhline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
        axes.set_xticks(examples, [f"{n:g}" for n in examples], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(title=TITLES[name], xlabel="texts seen", ylabel="accuracy" if axes is grid[0] else "")
        label_ends(axes, ends, gap=0.09)
    return drawn


def _lines(axes: Axes, rows: pd.DataFrame) -> list[tuple[float, str, str]]:
    """A band per state; their ends, as `label_ends` takes them."""
    ends = []
    for state, kind in STATES.items():
        line = rows[rows.state == state].sort_values("examples")
        if len(line):
            draw_band(axes, line, "examples", kind)
            ends.append((line.value.iloc[-1], state_name(state), COLOURS[kind]))
    return ends
