"""Phrases of the report: numbers, intervals, counts and names as text."""

from collections.abc import Callable

import pandas as pd

from overpaint.report.select import Cell, cleared_by, first_or_none, first_where, in_cell, overall, roles

# state of a model: the kind that it is drawn as
STATES = {"base": "base", "unlearned": "unlearned", "cleared": "cleared", "naive": "null"}
NO_VALUE = "\u2013"
DAMAGE_LIMIT = 0.03  # benign accuracy that unlearning may cost: 3 points, the published run lost 1.0 on MMLU


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def two(value: float) -> str:
    return f"{value:.2f}"


def count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def interval(row: pd.Series, form: Callable[[float], str]) -> str:
    """`95 % interval 0.1 to 0.2`, or that there is none."""
    if pd.isna(row.low) or pd.isna(row.high):
        return "no interval"
    return f"95 % interval {form(row.low)} to {form(row.high)}"


def number(row: pd.Series | None, form: Callable[[float], str]) -> str:
    """`59 % (49 % to 69 %)` with its 95 % interval, or that it was not measured."""
    if row is None or pd.isna(row.value):
        return "not measured"
    return form(row.value) + ("" if pd.isna(row.low) else f" ({form(row.low)} to {form(row.high)})")


def spread(rows: pd.DataFrame) -> str:
    """`0.96 (0.95 to 0.97)`: the mean with the range over topics and seeds."""
    return f"{rows.value.mean():.2f} ({rows.value.min():.2f} to {rows.value.max():.2f})"


def shown_name(clearing: str, draw: int | None = None, other_topic: bool = False) -> str:
    """A clearing as it is called in figures and sentences: `rand`, `draw 3 of rand`, `other topic's: topic`."""
    if other_topic:
        return f"other topic's: {clearing}"
    return clearing if pd.isna(draw) else f"draw {draw} of {clearing}"


def method_name(method: str) -> str:
    """A method as it is shown: `RMU`, `adaptive_rmu`."""
    return method.upper() if len(method) <= 4 else method


def method_label(frame: pd.DataFrame) -> str:
    """Name of a table's unlearning method as shown: `RMU`."""
    return method_name(next((name for name in frame.method if name != "base"), "unlearned"))


def state_name(state: str) -> str:
    return {"naive": "never knew the facts"}.get(state, state)


def role_name(rows: pd.DataFrame) -> str:
    """`hazardous`, or `benign: everyday` where there is one topic."""
    role, topic = next(iter(rows.role), ""), next(iter(rows.topic), "all")
    return role if topic == "all" else f"{role}: {topic}"


def seeds_pooled(table: pd.DataFrame, cell: Cell) -> str:
    """`3 seeds pooled`, or `1 seed`."""
    seeds = in_cell(table, cell).seed
    number = seeds[seeds != "all"].nunique()
    return count(number, "seed") + " pooled" * (number > 1)


def counts(rows: pd.DataFrame) -> str:
    """`32 hazardous and 16 benign`."""
    return listed([f"{int(overall(rows, role).n.max())} {role}" for role in roles(rows)])


def share_of(row: pd.Series) -> str:
    """`8 of 9 base models`, or `99.9 % of resamples`, of a row of the table of layers."""
    if row.models > 1:
        return f"{round(row.above * row.models)} of {int(row.models)} base models"
    return f"{100 * row.above:.3g} % of resamples"


def per_model(rows: pd.DataFrame, metric: str, primary: str, form: Callable[[float], str], base: bool = True) -> str:
    """`base 0.25 (...), unlearned 0.36 (...) and cleared 0.17 (...)` of one metric."""
    rows = rows[rows.metric == metric]
    after = rows[rows.method != "base"]
    by_state = {"base": first_or_none(rows[rows.method == "base"])} if base else {}
    by_state |= {"unlearned": first_where(after, clearing="none"), "cleared": first_where(cleared_by(after, primary))}
    return listed([f"{name} {number(row, form)}" for name, row in by_state.items()])


def per_state(rows: pd.DataFrame, form: Callable[[float], str], **wanted: str) -> str:
    """`base 98 % (...), unlearned 59 % (...) and never knew the facts 27 % (...)`."""
    by_state = {state: first_where(rows, state=state, **wanted) for state in STATES}
    return listed([f"{state_name(name)} {number(row, form)}" for name, row in by_state.items() if row is not None])
