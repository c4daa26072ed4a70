"""The table of what is answered after given numbers of texts, and of what was painted over, displaced and gone.

Three shares of the accuracy lost, base less unlearned, which sum to 1:

painted_over    what clearing gives back
displaced       what relearning from hazardous texts gives back beyond it, less the share of wrong answers that it
                mends in a model that never knew, which it would mend of those that are still wrong
gone            the rest: neither gives it back
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from overpaint.tables import statistics
from overpaint.tables.core import Study, joined
from overpaint.tables.ratios import Frames, Parts, cells, ratios, samples, sums, values
from overpaint.tables.ratios import table as table_of
from overpaint.tables.statistics import Estimate

KEYS = ["state", "texts", "lr", "examples", "metric"]
BEST = {"accuracy": np.max, "nll": np.min}  # over the rates
SPLIT = ("painted_over", "displaced", "gone")
NO_NAIVE = "undefined: no model that never knew the facts"


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy and nats by rate, and with the best rate (`lr` empty), and the `SPLIT` after the most texts.

    frames: rows of `measure.of_job` per run, the base among them.
    """
    frames = {run: _long(frame) for run, frame in frames.items()}
    parts = {run: sums(frame, KEYS, ["value", "rows"], study.hazardous) for run, frame in frames.items()}
    rows = []
    for columns, members in cells(study, parts):
        found = _best(members)
        if "base" in parts and columns["method"] != "base":
            found += _split(members, [parts["base"]] * len(members))
        rows += [columns | study.of_topic(topic) | row for topic, row in found]
    return joined([ratios(frames, study, KEYS, {"": ("value", "rows")}, KEYS), table_of(rows, KEYS)])


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per metric."""
    columns = {"accuracy": "correct", "nll": "nll"}
    return pd.concat([frame.assign(metric=name, value=frame[column]) for name, column in columns.items()])


def _best(members: list[Parts]) -> list[tuple[str, dict]]:
    """(topic, row) of every state and number of texts with the rate that is best there, of the sample or resample."""
    rows = []
    for topic, state, texts, examples, metric in dict.fromkeys((*key[:3], *key[4:]) for key in members[0]):
        best = with_best_rate(members, topic, state, texts, examples, metric)
        key = {"state": state, "texts": texts, "lr": np.nan, "examples": examples, "metric": metric}
        rows.append((topic, key | values(_units(members, topic), statistics.estimate(best))))
    return rows


def with_best_rate(
    members: list[Parts], topic: str, state: str, texts: str, examples: int, metric: str = "accuracy"
) -> np.ndarray:
    """The best over the rates in the sample and in every resample, [1 + REPEATS]."""
    fitting = [key for key in members[0] if (*key[:3], *key[4:]) == (topic, state, texts, examples, metric)]
    return BEST[metric]([samples(members, key) for key in fitting], axis=0)


def _split(members: list[Parts], base: list[Parts]) -> list[tuple[str, dict]]:
    """(topic, row) of the three shares of what was lost; base: that of the base as often as there are seeds."""
    rows, most = [], max(key[4] for key in members[0])
    naive = any(key[1] == "naive" for key in base[0])
    for topic in dict.fromkeys(key[0] for key in members[0]):

        def accuracy(of: list[Parts], state: str, examples: int, topic: str = topic) -> np.ndarray:
            return with_best_rate(of, topic, state, "hazardous", examples)

        lost = accuracy(base, "base", 0) - accuracy(members, "unlearned", 0)
        for metric, share in zip(SPLIT, _shares(accuracy, members, base, most, naive), strict=True):
            estimate = Estimate(np.nan, np.nan, np.nan, NO_NAIVE) if share is None else _of_lost(share, lost)
            key = {"state": "unlearned", "texts": "hazardous", "lr": np.nan, "examples": most, "metric": metric}
            rows.append((topic, key | values(_units(members, topic), estimate)))
    return rows


def _shares(
    accuracy: Callable[..., np.ndarray], members: list[Parts], base: list[Parts], most: int, naive: bool
) -> tuple[np.ndarray | None, ...]:
    """Points painted over, displaced and gone, [1 + REPEATS] each; of the last two None without a naive model."""
    unlearned, cleared = (accuracy(members, state, 0) for state in ("unlearned", "cleared"))
    painted = cleared - unlearned
    if not naive:
        return painted, None, None
    relearned = np.maximum(accuracy(members, "unlearned", most), accuracy(members, "cleared", most))
    wrong, still = (np.maximum(1 - accuracy(base, "naive", count), 1e-9) for count in (0, most))
    learned = np.maximum(0, 1 - still / wrong)
    displaced = np.maximum(0, relearned - cleared - learned * (1 - cleared))
    return painted, displaced, accuracy(base, "base", 0) - cleared - displaced


def _of_lost(points: np.ndarray, lost: np.ndarray) -> Estimate:
    """Points as a share of those lost, where these are more than 2 of their standard errors."""
    if abs(lost[0]) <= 2 * lost[1:].std(ddof=1):
        return Estimate(np.nan, np.nan, np.nan, statistics.UNDEFINED)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have lost nothing
        shares = points / lost
    low, high = np.nanquantile(shares[1:], [0.025, 0.975])
    return Estimate(float(shares[0]), float(low), float(high))


def _units(members: list[Parts], topic: str) -> int:
    return max(len(part.units) for key, part in members[0].items() if key[0] == topic)
