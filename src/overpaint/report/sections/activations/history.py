"""Training of the main cell: norms, cosines, projections and losses over its steps."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, figure, label_ends, log_if_wide, nothing, panel_grid, plain
from overpaint.report.section import section
from overpaint.report.select import in_cell
from overpaint.report.view import View

# Quantities in the order of their panels.
HISTORY = {
    "norm": "norm of activations",
    "norm_first": "norm, first token",
    "cosine_to_base": "cosine to base",
    "cosine_u": "cosine to u",
    "attained": "projection on u / its target",
    "loss": "loss",
}


@section
def show(view: View) -> Markup:
    """Training of the main cell."""
    return markup.figure(
        draw(view),
        f"Training at {view.cell}: means over the tokens of each topic's first batch, without first tokens where "
        "these do not have a panel of their own. The control vector u is where forget texts are pushed. Thin lines "
        "are seeds, thick lines their mean; forget in vermilion, retain in grey. A norm or loss that spans more "
        "than a factor of 50 is on a log scale.",
    )


@figure("history")
def draw(view: View) -> Figure:
    """Norms, cosines, projections and losses over training steps; thin lines are seeds, thick ones topics."""
    rows = in_cell(view.history, view.cell) if view.cell else view.history.iloc[:0]
    rows = rows[rows.seed != "all"].dropna(subset="value")
    if rows.empty:
        return nothing("The history table holds no training steps for this cell.")
    rows = rows.assign(topic=rows.topic.fillna(""))
    panels = sorted(rows.quantity.unique(), key=list(HISTORY).index)
    drawn, grid = panel_grid(len(panels), 2.0, columns=2)
    for axes, panel in zip(grid, panels, strict=True):
        here = rows[rows.quantity == panel]
        if panel in ("norm", "norm_first", "loss"):  # cosines and shares keep their plain scale
            log_if_wide(axes, here.value, 50)
        _panel(axes, here)
        axes.set_title(plain(HISTORY[panel]))
        axes.set_xlabel("training step")
    return drawn


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Lines of one panel by topic, the retain texts in the base's colour, hazardous topics in the unlearned model's."""
    ends = []
    for topic, lines in rows.groupby("topic", sort=False):
        colour = COLOURS["base" if topic == "retain" else "unlearned"]
        for _, line in lines.groupby("seed"):
            axes.plot(line.step, line.value, color=colour, lw=0.7, alpha=0.4)
        mean = lines.groupby("step").value.mean()
        axes.plot(mean.index, mean, color=colour)
        ends.append((mean.iloc[-1], topic, colour))
    label_ends(axes, ends, gap=0.14)
