"""Tidy tables of what is measured beside the scores: damage, coherence, depth, relearning, emergence.

Each table has the columns of `tables.RUN`, then `topic` (`all`: the hazardous ones together) and `role`, then its own
keys, then value, low, high (95 % bootstrap over units, and over seeds where `seed` is `all`), n (units) and note.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from overpaint import statistics
from overpaint.statistics import Estimate
from overpaint.tables import APPLIED, RUN, TOGETHER, Applied, Study, as_applied, typed

KEYS = {
    "agreement": [*APPLIED, "benchmark", "metric"],
    "coherence": [*APPLIED, "metric"],
    "depth": ["state", "depth", "quantity"],
    "relearning": ["state", "examples", "metric"],
    "emergence": ["step", "quantity"],
}
HOW = ["clearing", "other_topic", "draw"]  # fields of `Applied` by which rows are told apart
VALUES = ["value", "low", "high", "n", "note"]
# metric: (column that is summed, column whose sum it is divided by); `rows` counts
AGREEMENT = {"kl": ("kl", "tokens"), "top1_agreement": ("agreed", "tokens")}
COHERENCE = {
    "distinct_1": ("distinct_1", "tokens"),
    "distinct_2": ("distinct_2", "pairs"),
    "repeated_4": ("repeated_4", "fours"),
    "base_nll": ("nll", "tokens"),
    "length": ("tokens", "rows"),
}
MEAN = {"": ("value", "rows")}
RELEARNING = {"accuracy": ("correct", "rows"), "nll": ("nll", "rows")}
EMPTY = "undefined: no tokens to measure"

Frames = dict[str, pd.DataFrame]  # by run
Parts = dict[tuple, pd.DataFrame]  # (topic, *keys): sums over the rows of each unit, indexed by topic and unit


def agreement(frames: Frames, study: Study) -> pd.DataFrame:
    """KL(base || model) in nats per token and the share of tokens with the base's first choice, on running text.

    frames: rows of `agreement.compare` per run.
    """
    found = {run: as_applied(frame, study.hazardous) for run, frame in frames.items()}
    found = {run: frame[frame.refit == TOGETHER] for run, frame in found.items()}
    return _ratios("agreement", found, study, [*HOW, "benchmark"], AGREEMENT)


def coherence(frames: Frames, study: Study) -> pd.DataFrame:
    """Distinct 1- and 2-grams, repeated 4-grams, the base's nats per token, and tokens of greedy continuations.

    frames: rows of `completions.describe` per run, with topic, clearing and draw.
    """
    found = {
        run: frame.assign(other_topic=False, draw=frame.draw.fillna(TOGETHER).astype(int))
        for run, frame in frames.items()
    }
    return _ratios("coherence", found, study, HOW, COHERENCE)


def depth(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy of logit lens and probes at each depth. frames: rows of `lens.measure` per run, with state."""
    return _ratios("depth", frames, study, ["state", "depth", "quantity"], MEAN)


def relearning(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy and nats after given numbers of texts. frames: rows of `relearning.relearn` per run, with state."""
    return _ratios("relearning", frames, study, ["state", "examples"], RELEARNING)


def emergence(frames: Frames, study: Study) -> pd.DataFrame:
    """Norm, cosine with u, forgotten and recovered accuracy by step. frames: rows of `emergence.trace` per run."""
    keys, rows = ["step", "quantity"], []
    parts = {run: _parts(frame, keys, ["value", "rows"], study.hazardous) for run, frame in frames.items()}
    for columns, members in _cells(study, parts):
        for topic, step in dict.fromkeys(key[:2] for key in members[0]):
            means = {key[2]: _mean(members, key) for key in members[0] if key[:2] == (topic, step)}
            for quantity, (count, found) in _emerged(means).items():
                own = study.of_topic(topic) | {"step": step, "quantity": quantity}
                rows.append(columns | own | _values(count, found))
    return _table("emergence", rows)


def _emerged(means: dict[str, np.ndarray]) -> dict[str, tuple[int, Estimate]]:
    """{quantity: (units, estimate)} at one step of one topic, from means [seeds, units]."""
    base, unlearned, cleared = (means.pop(f"correct_{state}") for state in ("base", "unlearned", "cleared"))
    values = {quantity: (found.shape[1], statistics.mean(found)) for quantity, found in means.items()}
    return values | {
        "forgotten_accuracy": (base.shape[1], statistics.mean(base - unlearned)),
        "recovered_accuracy": (base.shape[1], statistics.recovered_fraction(base, unlearned, cleared)),
    }


def _ratios(table: str, frames: Frames, study: Study, keys: list[str], metrics: dict) -> pd.DataFrame:
    """Rows of `metrics` of every cell, topic and combination of `keys`."""
    columns, rows = sorted({column for pair in metrics.values() for column in pair}), []
    parts = {run: _parts(frame, keys, columns, study.hazardous) for run, frame in frames.items()}
    for labels, members in _cells(study, parts):
        for key in members[0]:
            own = labels | study.of_topic(key[0]) | dict(zip(keys, key[1:], strict=True))
            if keys[: len(HOW)] == HOW:
                own |= study.how(Applied(*key[1 : 1 + len(HOW)]))
            for metric, (above, below) in metrics.items():
                name = {"metric": metric} if metric else {}
                rows.append(own | name | _ratio(_stacked(members, key, above), _stacked(members, key, below)))
    return _table(table, rows)


def _cells(study: Study, runs: dict[str, Parts]) -> Iterator[tuple[dict, list[Parts]]]:
    """(columns, parts) of every run, and of the runs of one method, layer and c together, seed `all`."""
    for run, parts in runs.items():
        yield study.columns(run), [parts]
    for members in study.cells(runs):
        yield study.columns(members[0], "all"), [runs[run] for run in members]


def _parts(frame: pd.DataFrame, keys: list[str], columns: list[str], hazardous: list[str]) -> Parts:
    """The sums of each topic and combination of keys, and of several hazardous topics (and benchmarks) together.

    A unit on which there are several benchmarks has the mean of their sums.
    """
    sums = frame.assign(rows=1).groupby(["topic", *keys, "unit"], sort=False)[columns].sum().reset_index()
    groups = sums.groupby(["topic", *keys], sort=False)
    found = {key: part.set_index(["topic", "unit"])[columns].sort_index() for key, part in groups}
    together: dict[tuple, list[pd.DataFrame]] = {}
    several = sums.topic[sums.topic.isin(hazardous)].nunique() > 1
    for (topic, *values), part in found.items():
        if several and topic in hazardous:
            key = ("all" if name == "benchmark" else value for name, value in zip(keys, values, strict=True))
            together.setdefault(("all", *key), []).append(part)
    return found | {key: pd.concat(parts).groupby(level=["topic", "unit"]).mean() for key, parts in together.items()}


def _stacked(members: list[Parts], key: tuple, column: str) -> np.ndarray:
    """A column of one part of every seed, [seeds, units]; they must be of the same units."""
    parts = [parts[key][column] for parts in members]
    if any(not part.index.equals(parts[0].index) for part in parts):
        raise ValueError(f"the runs of a cell have {column} of different units at {key}")
    return np.stack([part.to_numpy(float) for part in parts])


def _mean(members: list[Parts], key: tuple) -> np.ndarray:
    return _stacked(members, key, "value") / _stacked(members, key, "rows")


def _ratio(above: np.ndarray, below: np.ndarray) -> dict:
    """The ratio of two sums over [seeds, units]; a resample in which no unit has anything to count is left out."""
    if not below.sum():
        return _values(above.shape[1], Estimate(np.nan, np.nan, np.nan, EMPTY))
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = statistics.means(above) / statistics.means(below)
    low, high = np.nanquantile(samples[1:], [0.025, 0.975])
    return _values(above.shape[1], Estimate(float(samples[0]), float(low), float(high)))


def _values(count: int, found: Estimate) -> dict:
    return {"value": found.value, "low": found.low, "high": found.high, "n": count, "note": found.note}


def _table(name: str, rows: Iterable[dict]) -> pd.DataFrame:
    return typed(pd.DataFrame(rows, columns=[*RUN, "topic", "role", *KEYS[name], *VALUES]))
