"""What every section of a page does once: several views, tables that lack rows, cell, seeds and n of a caption."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import pandas as pd
from markupsafe import Markup

from overpaint.report import wording
from overpaint.report.markup import Html, macros
from overpaint.report.select import Cell, cell_shown, in_cell, mark, rows_shown
from overpaint.report.view import View, closely


def section(show: Callable[..., Markup]) -> Callable[..., Html]:
    """A section of views made of one of a view: under model's and method's name where there are several."""

    @wraps(show)
    def shown(views: list[View], *args) -> Html:
        if len(views) == 1:
            return Html(show(views[0], *args))
        told, models = closely(views), len({view.model for view in views})
        rest = f"Shown is {views[0].model}; of {models - 1} more base models the tables hold the same."
        parts = macros.each([(view, show(view, *args)) for view in told])
        return Html(parts if told == views else parts + macros.note(rest))

    return shown


@dataclass(frozen=True)
class Shown:
    """What a section shows of a table.

    Attributes:
        cell: the main cell, or the table's own main cell where that was not looked at.
        rows: those of the base and of the cell, seeds pooled, without missing values.
        seeds: `3 seeds pooled`.
    """

    cell: Cell | None
    rows: pd.DataFrame
    seeds: str

    @property
    def where(self) -> str:
        """`layer 3, c = 4, 3 seeds pooled`."""
        return f"{self.cell}, {self.seeds}"

    @property
    def n(self) -> str:
        """`n = 96 hazardous and 192 benign`, of whatever is resampled."""
        return f"n = {wording.counts(self.rows)}"


def looked_at(table: str, what: str, key: str) -> Callable[[Callable[[View, Shown], Markup]], Callable[..., Html]]:
    """A section on a table that only some studies fill, and of some of their cells.

    Args:
        table: its name.
        what, key: what a study without rows did not look at, and the key of the configuration that asks for it.
    """

    def decorate(show: Callable[[View, Shown], Markup]) -> Callable[..., Html]:
        @wraps(show)
        def shown(view: View) -> Markup:
            frame = getattr(view, table)
            rows, cell = rows_shown(frame, view.cell), cell_shown(frame, view.cell)
            if rows[rows.method != "base"].empty:
                return macros.not_measured(what, key)
            return show(view, Shown(cell, rows, wording.seeds_pooled(frame, cell)))

        return section(shown)

    return decorate


def in_main_cell(table: str, missing: str) -> Callable[[Callable[[View, pd.DataFrame], Markup]], Callable[..., Html]]:
    """A section on the rows of single seeds of a table in the main cell, or the sentence that there are none."""

    def decorate(show: Callable[[View, pd.DataFrame], Markup]) -> Callable[..., Html]:
        @wraps(show)
        def shown(view: View) -> Markup:
            frame = getattr(view, table)
            rows = in_cell(frame, view.cell) if view.cell else frame.iloc[:0]
            return show(view, rows) if rows.value.notna().any() else macros.paragraph(missing)

        return section(shown)

    return decorate


def warning(view: View) -> str:
    """Warning if the plan leaves the main cell out, else "": its numbers are shown, but count for no claim."""
    left_out = mark(view.cells, view.cell)
    return f"Beware: the plan leaves this cell out as {left_out}, so its numbers say little." if left_out else ""


def lead(sentence: str, view: View | None = None) -> Markup:
    """The sentence that opens a page; of a view, with the warning on its main cell where there is one."""
    return macros.lead(" ".join(filter(None, [sentence, warning(view) if view else ""])))
