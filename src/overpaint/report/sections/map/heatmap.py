"""The map over c and layer."""

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from overpaint.report import markup, select
from overpaint.report.charts.heat import MAPS, MARKS, panels
from overpaint.report.drawing import figure, nothing
from overpaint.report.markup import Html
from overpaint.report.section import lead, section
from overpaint.report.select import Cell
from overpaint.report.view import View
from overpaint.report.wording import count, interval, percent


@section
def answer(view: View) -> Markup:
    """Range of the recovered fraction over the cells without a mark, and how many are marked."""
    cells = view.cells
    total = len(select.cells(cells))
    if not total:
        return lead("Nothing was unlearned, so there is no map.")
    rows = cells[(cells.quantity == "recovered_accuracy") & cells.mark.eq("")].dropna(subset="value")
    marked = cells[cells.quantity == "forgotten_accuracy"].mark
    left = [f"{count(int((marked == name).sum()), 'cell')} {name}" for name in MARKS if (marked == name).any()]
    aside = f" Left out: {', '.join(left)}." if left else ""
    if rows.empty:
        return lead(f"In none of {count(total, 'cell')} can a recovered fraction be told.{aside}")
    low, high = (rows.loc[pick] for pick in (rows.value.idxmin(), rows.value.idxmax()))
    if len(rows) == 1:
        return lead(f"In the one cell that counts, clearing '{view.primary}' gave back {_at(low)}.{aside}")
    return lead(
        f"Over {count(len(rows), 'cell')} of layer and c, clearing '{view.primary}' gave back from {_at(low)} to "
        f"{_at(high)} of the lost accuracy.{aside}"
    )


def _at(row: pd.Series) -> str:
    return f"{percent(row.value)} ({interval(row, percent)}; {Cell(int(row.layer), row.c)})"


def show(views: list[View]) -> Html:
    """The heat maps of every base model, on the same scales."""
    return _maps(views, pd.concat([view.cells for view in views]))


@section
def _maps(view: View, all_cells: pd.DataFrame) -> Markup:
    return markup.figure(
        draw(view, all_cells),
        "Each cell pools its seeds and all hazardous topics. Numbers: the value and half the width of its 95 % "
        "bootstrap interval; of attained magnitude, rank-1 share and c half the range over seeds and topics. "
        f"Recovered: by clearing '{view.primary}'. Grey and hatched: left out by the plan, as not unlearned (//) or "
        "collapsed (crossed). Attained magnitude: mean projection on u over the length of the control vector; it "
        "and the rank-1 share are of prompts on which no direction was fitted.",
    )


@figure("map")
def draw(view: View, all_cells: pd.DataFrame | None = None) -> Figure:
    """Heat maps over c and layer, a panel per quantity of `MAPS`; marked cells are hatched and in grey.

    all_cells: cells of all base models, whose largest value sets a scale that has no top of its own.
    """
    if view.cells.empty:
        return nothing("The table of cells holds no unlearned model.")
    everything = view.cells if all_cells is None else all_cells
    return panels(view.cells, everything, [name for name in MAPS if name in set(view.cells.quantity)])
