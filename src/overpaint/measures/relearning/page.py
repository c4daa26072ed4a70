"""Relearning: what comes back by fine-tuning on texts about other facts."""

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import CHANCE, COLOURS, draw_band, figure, label_ends, nothing, panel_grid
from overpaint.report.markup import macros
from overpaint.report.section import Shown, looked_at
from overpaint.report.select import cell_shown, first_or_none, overall, rows_shown
from overpaint.report.view import View
from overpaint.report.wording import STATES, count, per_state, percent, state_name

TITLES = {"accuracy": "accuracy", "nll": "NLL of the correct answer"}


@looked_at("relearning", "relearning", "study.measures.relearning")
def show(view: View, shown: Shown) -> Markup:
    """Relearning curves."""
    caption = (
        "Hazardous questions after fine-tuning on texts about other facts of the topics, each seen once, at "
        f"{shown.where}, {shown.n} units; bands: 95 % bootstrap intervals. The cleared "
        "model keeps its clearing. The scale of texts is logarithmic beyond its first step. Dashed: chance, 0.25."
    )
    return macros.paragraph(sentence(view)) + markup.figure(draw(view), caption)


def sentence(view: View) -> str:
    """Accuracy before and after the largest number of texts."""
    rows = overall(rows_shown(view.relearning, view.cell), "hazardous")
    rows = rows[rows.metric == "accuracy"]
    first, last = (rows[rows.examples == pick] for pick in (rows.examples.min(), rows.examples.max()))
    few, many = _texts(rows.examples.min()), _texts(rows.examples.max())
    return (
        f"Fine-tuning at {cell_shown(view.relearning, view.cell)} (95 % intervals in brackets): accuracy on hazardous "
        f"questions with {few} is {per_state(first, percent)}; with {many} per topic it is {per_state(last, percent)}."
    )


def _texts(number: float) -> str:
    return "no text" if number == 0 else count(int(number), "text")


@figure("relearning")
def draw(view: View) -> Figure:
    """Accuracy and NLL of the correct answer by texts seen in fine-tuning, beside the base model's accuracy."""
    rows = overall(rows_shown(view.relearning, view.cell), "hazardous")
    if rows.empty:
        return nothing("The relearning table holds no rows of an unlearned model.")
    panels = [metric for metric in TITLES if rows.metric.eq(metric).any()]
    drawn, grid = panel_grid(len(panels), 2.6, columns=2)
    examples = sorted(rows.examples.unique())
    for axes, metric in zip(grid, panels, strict=True):
        axes.set_xscale("symlog", linthresh=max(1, next((n for n in examples if n > 0), 1)))
        ends = _lines(axes, rows[rows.metric == metric])
        if metric == "accuracy":
            ends += _accuracy_axis(axes, _base_accuracy(view))
        axes.set_xticks(examples, [f"{n:g}" for n in examples], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(title=TITLES[metric], xlabel="texts per topic seen")
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


def _accuracy_axis(axes: Axes, base: float | None) -> list[tuple[float, str, str]]:
    """Chance and the base's accuracy; the end of its line."""
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.axhline(CHANCE, color="#999999", ls="--", lw=0.9, zorder=0)
    if base is None or pd.isna(base):
        return []
    axes.axhline(base, color=COLOURS["base"], lw=1.2)
    return [(base, "base", COLOURS["base"])]


def _base_accuracy(view: View) -> float | None:
    rows = view.scores[(view.scores.method == "base") & (view.scores.metric == "accuracy")]
    row = first_or_none(overall(rows, "hazardous"))
    return None if row is None else row.value
