"""Tidy tables of what is measured beside the scores: damage, coherence, depth, relearning, emergence.

Each table has the columns of `tables.RUN`, then `topic` (`all`: the hazardous ones together) and `role`, then its own
keys, then value, low, high (95 % bootstrap over units, and over seeds where `seed` is `all`), n (units) and note.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from overpaint import statistics
from overpaint.statistics import Estimate
from overpaint.tables import RUN, run_columns, typed

Frames = dict[str, pd.DataFrame]
KEYS = {
    "agreement": ["clearing", "benchmark", "metric"],
    "coherence": ["clearing", "metric"],
    "depth": ["state", "depth", "quantity"],
    "relearning": ["state", "examples", "metric"],
    "emergence": ["step", "quantity"],
}
VALUES = ["value", "low", "high", "n", "note"]
# metric: (sum over rows, over the sum of)
AGREEMENT = {"kl": ("kl", "tokens"), "top1_agreement": ("agreed", "tokens")}
COHERENCE = {
    "distinct_1": ("distinct_1", "tokens"),
    "distinct_2": ("distinct_2", "pairs"),
    "repeated_4": ("repeated_4", "fours"),
    "base_nll": ("nll", "tokens"),
    "length": ("tokens", "rows"),
}
RELEARNING = {"accuracy": ("correct", "rows"), "nll": ("nll", "rows")}
EMPTY = "undefined: no tokens to measure"


class Study:
    """What labels the rows of a study: its name, its model, its runs' settings by path, its hazardous topics."""

    def __init__(self, name: str, model: str, runs: dict[str, dict], hazardous: list[str]) -> None:
        self.name, self.model, self.runs, self.hazardous = name, model, runs, hazardous

    def cells(self, frames: Frames) -> Iterator[tuple[dict, list[pd.DataFrame]]]:
        """(columns, frames) of every run, and of the runs of one method, layer and c together, seed `all`."""
        cells: dict[tuple, list[str]] = {}
        for run in frames:
            settings = self.runs[run]
            yield run_columns(self.name, self.model, settings), [frames[run]]
            if run != "base":
                cells.setdefault((settings["method"], settings["layer"], settings["c"]), []).append(run)
        for members in cells.values():
            pooled = run_columns(self.name, self.model, self.runs[members[0]], "all")
            yield pooled, [frames[run] for run in members]

    def topics(self, frame: pd.DataFrame) -> Iterator[tuple[dict, pd.Series]]:
        """(label, rows) of each topic, and of the hazardous ones together where there are several."""
        for topic in frame.topic.unique():
            role = "hazardous" if topic in self.hazardous else "benign"
            yield {"topic": topic, "role": role}, frame.topic == topic
        ours = frame.topic.isin(self.hazardous)
        if frame.topic[ours].nunique() > 1:
            yield {"topic": "all", "role": "hazardous"}, ours


def agreement(frames: Frames, study: Study) -> pd.DataFrame:
    """KL(base || model) in nats per token and the share of tokens with the base's first choice, on running text.

    frames: rows of `agreement.compare` per run.
    """
    named = {run: _named(frame, study.hazardous) for run, frame in frames.items()}
    return _ratios("agreement", named, study, ["clearing", "benchmark"], AGREEMENT)


def coherence(frames: Frames, study: Study) -> pd.DataFrame:
    """Distinct 1- and 2-grams, repeated 4-grams, the base's nats per token, and tokens of greedy continuations.

    frames: rows of `completions.coherence` per run, with topic, clearing and unit (the prompt).
    """
    return _ratios("coherence", frames, study, ["clearing"], COHERENCE)


def depth(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy of logit lens and probes at each depth. frames: rows of `lens.measure` per run, with state."""
    return _ratios("depth", frames, study, ["state", "depth", "quantity"], {"": ("value", "rows")})


def relearning(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy and nats after given numbers of texts. frames: rows of `relearning.relearn` per run, with state."""
    return _ratios("relearning", frames, study, ["state", "examples"], RELEARNING)


def emergence(frames: Frames, study: Study) -> pd.DataFrame:
    """Norm, cosine with u, forgotten and recovered accuracy by step. frames: rows of `emergence.trace` per run."""
    rows = []
    for columns, members in study.cells(frames):
        for label, _ in study.topics(members[0]):
            for step in members[0].step.unique():
                parts = [_of(frame, label["topic"], study, step=step) for frame in members]
                for quantity, (count, found) in _emerged(parts).items():
                    rows.append(columns | label | {"step": step, "quantity": quantity} | _values(count, found))
    return _table("emergence", rows)


def _emerged(parts: list[pd.DataFrame]) -> dict[str, tuple[int, Estimate]]:
    """{quantity: (units, estimate)} at one step of one topic; `parts` are the seeds' rows."""

    def stack(quantity: str) -> np.ndarray:
        own = [part[part.quantity == quantity] for part in parts]
        return _stacked(own, "value") / _stacked(own, "rows")

    base, unlearned, cleared = (stack(f"correct_{state}") for state in ("base", "unlearned", "cleared"))
    found = {quantity: stack(quantity) for quantity in ("norm", "cos_u")}
    values = {q: (v.shape[1], statistics.mean(v)) for q, v in found.items() if v.size}
    count = base.shape[1]
    return values | {
        "forgotten_accuracy": (count, statistics.mean(base - unlearned)),
        "recovered_accuracy": (count, statistics.recovered_fraction(base, unlearned, cleared)),
    }


def _ratios(table: str, frames: Frames, study: Study, keys: list[str], metrics: dict) -> pd.DataFrame:
    """Rows of `metrics` of every cell, topic and combination of `keys`."""
    rows, last = [], KEYS[table][-1]
    for columns, members in study.cells(frames):
        for label, chosen in study.topics(members[0]):
            for values, _ in members[0][chosen].groupby(keys, sort=False):
                own = dict(zip(keys, values, strict=True))
                parts = [_of(frame, label["topic"], study, **own) for frame in members]
                for metric, (above, below) in metrics.items():
                    name = {} if last in own else {last: metric}
                    rows.append(columns | label | own | name | _ratio(parts, above, below))
    return _table(table, rows)


def _of(frame: pd.DataFrame, topic: str, study: Study, **own) -> pd.DataFrame:
    """The rows of one topic, or all hazardous ones, with given values of keys."""
    chosen = frame.topic.isin(study.hazardous) if topic == "all" else frame.topic == topic
    for key, value in own.items():
        chosen &= frame[key] == value
    return frame[chosen]


def _ratio(parts: list[pd.DataFrame], above: str, below: str) -> dict:
    sums, over = (_stacked(parts, column) for column in (above, below))
    if not over.sum():
        return _values(sums.shape[1], Estimate(np.nan, np.nan, np.nan, EMPTY))
    return _values(sums.shape[1], statistics.ratio(sums, over, lambda x: x))


def _stacked(parts: list[pd.DataFrame], column: str) -> np.ndarray:
    """Sums of a column over the rows of each unit, [seeds, units]; `rows` counts them. Every seed has every unit."""
    sums = [part.assign(rows=1).groupby(["topic", "unit"])[column].sum() for part in parts]
    if any(not found.index.equals(sums[0].index) for found in sums):
        raise ValueError(f"the runs of a cell have {column} of different units")
    return np.stack([found.to_numpy(float) for found in sums])


def _named(frame: pd.DataFrame, hazardous: list[str]) -> pd.DataFrame:
    """Clearings named as in the table of scores: `other_...`, and random draws alone (`rand/0`) and together."""
    other = frame.variant.isin(hazardous) & frame.topic.isin(hazardous) & (frame.variant != frame.topic)
    frame = frame.assign(clearing=frame.clearing.where(~other, "other_" + frame.clearing))
    draws = frame[frame.variant.str.isdigit()]
    return pd.concat([frame, draws.assign(clearing=draws.clearing + "/" + draws.variant)], ignore_index=True)


def _values(count: int, found: Estimate) -> dict:
    return {"value": found.value, "low": found.low, "high": found.high, "n": count, "note": found.note}


def _table(name: str, rows: Iterable[dict]) -> pd.DataFrame:
    return typed(pd.DataFrame(rows, columns=[*RUN, "topic", "role", *KEYS[name], *VALUES]))
