"""The course of a training: what is forgotten, recovered and moved over its steps."""

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, draw_band, figure, nothing, panel_grid
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, first_or_none, overall, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import number, percent, points

TITLES = {
    "forgotten_accuracy": "accuracy forgotten",
    "recovered_accuracy": "recovered fraction",
    "norm": "norm after the target layer",
    "cos_u": "cosine of the shift with u",
}


@looked_at("emergence", "the course of a training", "study.measures.emergence")
def show(view: View, shown: Shown) -> Markup:
    """The course of a training."""
    caption = (
        f"Steps of the training at {shown.cell}; thick: all hazardous topics together, {shown.seeds}, with 95 % "
        "bootstrap bands; thin: single topics. The direction is fitted anew at each step. "
        "Steps where the recovered fraction is undefined, as little is forgotten yet, have no point; nor has the "
        "cosine at step 0, where nothing moved."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption)


def sentence(view: View) -> str:
    """When half of what is forgotten is forgotten, and what clearing recovers then and at the end."""
    rows = overall(rows_shown(view.emergence, view.cell), "hazardous")
    lost = rows[rows.quantity == "forgotten_accuracy"].sort_values("step")
    where = f"In the training at {cell_shown(view.emergence, view.cell)}"
    if lost.empty or lost.value.iloc[-1] <= 0:
        return f"{where}, no accuracy on hazardous questions is lost by the last step that was kept."
    end = lost.iloc[-1]
    half = lost[lost.value >= end.value / 2].iloc[0]
    back = rows[rows.quantity == "recovered_accuracy"]
    then, last = (first_or_none(back[back.step == row.step]) for row in (half, end))
    text = f"{where}, half of the {points(end.value)} points that step {end.step} has lost are lost by step {half.step}"
    if then is None and last is None:
        return f"{text}; the recovered fraction is undefined at both."
    return (
        f"{text}; clearing recovers (95 % intervals in brackets) {_fraction(then)} at step {half.step} "
        f"and {_fraction(last)} at step {end.step}."
    )


def _fraction(row: pd.Series | None) -> str:
    return "an undefined fraction" if row is None else number(row, percent)


@figure("emergence")
def draw(view: View) -> Figure:
    """The course of a training over its steps: all hazardous topics together, thin lines single topics."""
    rows = rows_shown(view.emergence, view.cell)
    if rows.empty:
        return nothing("The emergence table holds no rows of an unlearned model.")
    panels = [quantity for quantity in TITLES if rows.quantity.eq(quantity).any()]
    drawn, grid = panel_grid(len(panels), 2.1, columns=2)
    together = overall(rows, "hazardous")
    for axes, quantity in zip(grid, panels, strict=True):
        kind = "cleared" if quantity == "recovered_accuracy" else "unlearned"
        for _, line in rows[(rows.quantity == quantity) & ~rows.index.isin(together.index)].groupby("topic"):
            line = line.sort_values("step")
            axes.plot(line.step, line.value, color=COLOURS[kind], lw=0.7, alpha=0.5)
        draw_band(axes, together[together.quantity == quantity], "step", kind)
        axes.set(title=TITLES[quantity], xlabel="training step", xlim=(0, rows.step.max() * 1.02))
        if quantity.endswith("accuracy"):
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return drawn
