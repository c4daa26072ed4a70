"""Ratios of sums over units, with intervals: what the tables of measures are made of.

Each table has the columns of `core.RUN`, then `topic` (`all`: the hazardous ones together) and `role`, then its own
keys, then value, low, high (95 % bootstrap over units, and over seeds where `seed` is `all`), n (units) and note.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from overpaint.tables import statistics
from overpaint.tables.core import RUN, Applied, Study, typed
from overpaint.tables.statistics import Estimate

HOW = ["clearing", "other_topic", "draw"]  # fields of `Applied` by which rows are told apart
VALUES = ["value", "low", "high", "n", "note"]
EMPTY = "undefined: no tokens to measure"

Frames = dict[str, pd.DataFrame]  # by run


class Part(NamedTuple):
    """Sums over the rows of each unit: names of topic and unit in their order, and {column: sums}, [units] each."""

    units: np.ndarray
    sums: dict[str, np.ndarray]


Parts = dict[tuple, Part]  # by (topic, *keys)


def ratios(
    frames: Frames, study: Study, keys: list[str], metrics: dict[str, tuple[str, str]], columns: list[str]
) -> pd.DataFrame:
    """The table of some metrics of every cell, topic and combination of `keys`.

    metrics: {metric: (column that is summed, column whose sum it is divided by)}; `rows` counts; a metric without a
    name has no column of its own.    columns: the table's own keys, in their order.
    """
    summed, rows = sorted({column for pair in metrics.values() for column in pair}), []
    parts = {run: sums(frame, keys, summed, study.hazardous) for run, frame in frames.items()}
    for labels, members in cells(study, parts):
        for key in members[0]:
            row = labels | study.of_topic(key[0]) | dict(zip(keys, key[1:], strict=True))
            if keys[: len(HOW)] == HOW:
                row |= study.how(Applied(*key[1 : 1 + len(HOW)]))
            for metric, (above, below) in metrics.items():
                name = {"metric": metric} if metric else {}
                rows.append(row | name | _ratio(_stacked(members, key, above), _stacked(members, key, below)))
    return table(rows, columns)


def cells(study: Study, runs: dict[str, Parts]) -> Iterator[tuple[dict, list[Parts]]]:
    """(columns, parts) of every run, and of the runs of one method, layer and c together, seed `all`."""
    for run, parts in runs.items():
        yield study.columns(run), [parts]
    for members in study.cells(runs):
        yield study.columns(members[0], "all"), [runs[run] for run in members]


def sums(frame: pd.DataFrame, keys: list[str], columns: list[str], hazardous: list[str]) -> Parts:
    """The sums of each topic and combination of keys, and of several hazardous topics (and benchmarks) together.

    A unit on which there are several benchmarks has the mean of their sums.
    """
    groups = frame.assign(rows=1).groupby(["topic", *keys, "unit"], sort=False)
    summed = groups[columns].sum().reset_index()
    # One sort and cuts of arrays: an indexed frame of each part took three times as long as all the intervals.
    number = summed.groupby(["topic", *keys], sort=False).ngroup().to_numpy()
    summed = summed.iloc[np.lexsort((summed.unit, number))]
    starts = np.flatnonzero(np.diff(np.sort(number), prepend=-1))
    names = summed[["topic", *keys]].iloc[starts].itertuples(index=False, name=None)
    labels = np.split(np.char.add(summed.topic.to_numpy(str), np.char.add("\0", summed.unit.to_numpy(str))), starts[1:])
    values = {column: np.split(summed[column].to_numpy(float), starts[1:]) for column in columns}
    totals = {
        name: Part(labels[place], {column: values[column][place] for column in columns})
        for place, name in enumerate(names)
    }
    together: dict[tuple, list[Part]] = {}
    several = summed.topic[summed.topic.isin(hazardous)].nunique() > 1
    for (topic, *rest), part in totals.items():
        if several and topic in hazardous:
            key = ("all" if name == "benchmark" else value for name, value in zip(keys, rest, strict=True))
            together.setdefault(("all", *key), []).append(part)
    return totals | {key: _joined(parts) for key, parts in together.items()}


def _joined(parts: list[Part]) -> Part:
    """Several parts as one, in the order of topics and units; of what several have the mean."""
    units, place = np.unique(np.concatenate([part.units for part in parts]), return_inverse=True)
    count = np.bincount(place)
    columns = {name: np.concatenate([part.sums[name] for part in parts]) for name in parts[0].sums}
    return Part(units, {name: np.bincount(place, values) / count for name, values in columns.items()})


def _stacked(members: list[Parts], key: tuple, column: str) -> np.ndarray:
    """A column of one part of every seed, [seeds, units]; they must be of the same units."""
    first, *others = parts = [parts[key] for parts in members]
    if any(not np.array_equal(part.units, first.units) for part in others):
        raise ValueError(f"the runs of a cell have {column} of different units at {key}")
    return np.stack([part.sums[column] for part in parts])


def means(members: list[Parts], key: tuple) -> np.ndarray:
    """Means over the rows of each unit, [seeds, units]."""
    return _stacked(members, key, "value") / _stacked(members, key, "rows")


def samples(members: list[Parts], key: tuple) -> np.ndarray:
    """Mean of `value` over rows in the sample and in every resample, [1 + REPEATS]."""
    return statistics.means(_stacked(members, key, "value")) / statistics.means(_stacked(members, key, "rows"))


def _ratio(above: np.ndarray, below: np.ndarray) -> dict:
    """The ratio of two sums over [seeds, units]; a resample in which no unit has anything to count is left out."""
    if not below.sum():
        return values(above.shape[1], Estimate(np.nan, np.nan, np.nan, EMPTY))
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = statistics.means(above) / statistics.means(below)
    low, high = np.nanquantile(samples[1:], [0.025, 0.975])
    return values(above.shape[1], Estimate(float(samples[0]), float(low), float(high)))


def values(count: int, estimate: Estimate) -> dict:
    """The columns `VALUES` of an estimate on `count` units."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": count, "note": estimate.note}


def table(rows: Iterable[dict], columns: list[str]) -> pd.DataFrame:
    """Rows as a table with its own keys `columns`."""
    return typed(pd.DataFrame(rows, columns=[*RUN, "topic", "role", *columns, *VALUES]))
