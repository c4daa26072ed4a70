"""How deep, in one picture: what was lost at each layer, split into painted over, displaced and gone."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from overpaint.report import markup
from overpaint.report.drawing import COLOURS, draw_key, figure, name_rows, nothing, panel_grid, styled
from overpaint.report.markup import Html
from overpaint.report.section import lead
from overpaint.report.select import Cell, cells, first_where, in_cell, mark, overall
from overpaint.report.view import View
from overpaint.report.wording import listed, number, percent
from overpaint.tables import statistics

PARTS = {
    "painted_over": ("cleared", "painted over: clearing gives it back"),
    "displaced": ("alternative", "displaced: relearning does"),
    "gone": ("unlearned", "gone: neither does"),
}


def answer(views: list[View]) -> Html:
    """The three parts of every layer in a sentence, over base models where these are several; nothing without them."""
    found = over_models(views)
    return Html(lead(sentence(found), views[0]) if found else "")


def over_models(views: list[View]) -> dict[Cell, dict[str, pd.Series]]:
    """As `shares`, of the one view that has them, or the means over base models with t intervals.

    Of cells without a mark; `models` in a row is the number of base models. Where several methods have them, those of
    the first.
    """
    having = [view for view in views if shares(view)]
    having = [view for view in having if view.method == having[0].method]
    if len(having) < 2:
        return shares(having[0]) if having else {}
    told: dict[Cell, list[dict[str, pd.Series]]] = {}
    for view in having:
        for cell, rows in shares(view).items():
            if not mark(view.cells, cell):
                told.setdefault(cell, []).append(rows)
    return {cell: {part: _mean([rows[part] for rows in of]) for part in PARTS} for cell, of in sorted(told.items())}


def _mean(rows: list[pd.Series]) -> pd.Series:
    over = statistics.over_values(np.array([row.value for row in rows]))
    return pd.Series({"value": over.value, "low": over.low, "high": over.high, "models": len(rows)})


def show(views: list[View]) -> Html:
    """The picture, or nothing where its parts were not measured."""
    found = over_models(views)
    if not found:
        return Html("")
    models = max((int(row.get("models", 1)) for rows in found.values() for row in rows.values()), default=1)
    over = f" Means over {models} base models, with t intervals." if models > 1 else ""
    note = (
        "Shares of the hazardous accuracy that unlearning took, on questions of which its corpora tell nothing, seeds "
        "pooled; lines: 95 % bootstrap intervals of the painted-over and of the gone part. Painted over: given back by "
        f"clearing '{views[0].primary}'. Displaced: given back beyond that by fine-tuning on texts about other facts "
        "of the topic, less the share of wrong answers that these mend in a model that never knew. Gone: the rest."
    )
    return Html(markup.figure(bars(found), note + over))


def shares(view: View) -> dict[Cell, dict[str, pd.Series]]:
    """{cell: {part: its row}} of each layer at the headline's c, where all three parts were measured."""
    table = view.relearning[view.relearning.metric.isin(PARTS) & view.relearning.seed.eq("all")].dropna(subset="value")
    c = view.cell.c if view.cell else None
    found = {}
    for cell in cells(table):
        here = overall(in_cell(table, cell), "hazardous")
        rows = {name: first_where(here, metric=name) for name in PARTS}
        if all(row is not None for row in rows.values()) and c in (None, cell.c):
            found[cell] = rows
    return found


def sentence(found: dict[Cell, dict[str, pd.Series]]) -> str:
    """`Of what RMU took at layer 2, 60 % (..) was painted over, 30 % displaced and 10 % gone; at layer 3, ...`."""
    texts = []
    for cell, rows in found.items():
        painted, displaced, gone = (number(rows[name], percent) for name in PARTS)
        texts.append(f"at {cell}, {listed([f'{painted} was painted over', f'{displaced} displaced', f'{gone} gone'])}")
    models = max(int(row.get("models", 1)) for rows in found.values() for row in rows.values())
    over = f", on average over {models} base models," if models > 1 else ""
    return f"Of what unlearning took{over} {'; '.join(texts)} (95 % intervals)."


@figure("split")
def draw(view: View) -> Figure:
    """A bar per layer of one base model."""
    found = shares(view)
    if not found:
        return nothing("There are no shares of what was painted over, displaced and gone: relearning was not measured.")
    return bars(found)


@styled
def bars(found: dict[Cell, dict[str, pd.Series]]) -> Figure:
    """A bar per layer: painted over, displaced, gone."""
    drawn, (axes,) = panel_grid(1, 1.1 + 0.42 * len(found))
    for y, rows in enumerate(found.values()):
        _bar(axes, y, rows)
    name_rows(axes, [f"layer {cell.layer}" for cell in found], ["base"] * len(found))
    axes.set(
        xlim=(min(0, axes.get_xlim()[0]), max(1, axes.get_xlim()[1])), xlabel="share of the accuracy that was lost"
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    draw_key(drawn, [(text, kind) for kind, text in PARTS.values()])
    return drawn


def _bar(axes: Axes, y: int, rows: dict[str, pd.Series]) -> None:
    """The parts of one layer from the left, with the intervals of the first above and of the last below."""
    start = 0.0
    for name, (kind, _) in PARTS.items():
        share = float(rows[name].value)
        axes.barh(y, share, left=start, color=COLOURS[kind], height=0.6, lw=0)
        if share > 0.06:
            axes.text(start + share / 2, y, percent(share), color="white", ha="center", va="center", fontsize=8)
        start += share
    first, last = rows["painted_over"], rows["gone"]
    axes.plot([first.low, first.high], [y - 0.38] * 2, color=COLOURS["cleared"], lw=1.4)
    axes.plot([1 - last.high, 1 - last.low], [y + 0.38] * 2, color=COLOURS["unlearned"], lw=1.4)
