"""The table of how coherent a run's continuations are."""

import pandas as pd

from overpaint.tables.core import APPLIED, TOGETHER, Study
from overpaint.tables.ratios import HOW, Frames, ratios

KEYS = [*APPLIED, "metric"]
METRICS = {
    "distinct_1": ("distinct_1", "tokens"),
    "distinct_2": ("distinct_2", "pairs"),
    "repeated_4": ("repeated_4", "fours"),
    "base_nll": ("nll", "tokens"),
    "length": ("tokens", "rows"),
}
# Of the file, whose names are text, whatever they look like.
TYPES = {"topic": str, "clearing": str, "draw": "Int64", "unit": str}
TYPES |= dict.fromkeys(["tokens", "distinct_1", "pairs", "distinct_2", "fours", "repeated_4"], int) | {"nll": float}


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """Distinct 1- and 2-grams, repeated 4-grams, the base's nats per token, and tokens of greedy continuations.

    frames: rows of `measure.describe` per run, with topic, clearing and draw.
    """
    applied = {
        run: frame.assign(other_topic=False, draw=frame.draw.fillna(TOGETHER).astype(int))
        for run, frame in frames.items()
    }
    return ratios(applied, study, HOW, METRICS, KEYS)
