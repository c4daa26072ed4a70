"""The table of how coherent a run's continuations are, and how many hold the correct answer."""

import pandas as pd

from overpaint.tables.core import APPLIED, TOGETHER, Study, joined
from overpaint.tables.ratios import HOW, Frames, ratios

KEYS = ["state", *APPLIED, "metric"]
METRICS = {
    "distinct_1": ("distinct_1", "tokens"),
    "distinct_2": ("distinct_2", "pairs"),
    "repeated_4": ("repeated_4", "fours"),
    "base_nll": ("nll", "tokens"),
    "length": ("tokens", "rows"),
}
KNOWN = {"holds_answer": ("holds_answer", "rows")}  # of prompts whose answer is known
# Of the file, whose names are text, whatever they look like.
TYPES = {"topic": str, "clearing": str, "draw": "Int64", "unit": str}
TYPES |= dict.fromkeys(["tokens", "distinct_1", "pairs", "distinct_2", "fours", "repeated_4"], int) | {"nll": float}
TYPES |= {"naive": bool, "holds_answer": float}


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """What greedy continuations repeat, the base's nats per token, their length, and how many hold the answer.

    frames: rows of `measure.measure` per run.
    """
    applied = {
        run: frame.assign(
            other_topic=False, draw=frame.draw.fillna(TOGETHER).astype(int), state=_states(run, frame, study)
        )
        for run, frame in frames.items()
    }
    known = {run: frame[frame.holds_answer.notna()] for run, frame in applied.items()}
    keys = [*HOW, "state"]
    return joined([ratios(applied, study, keys, METRICS, KEYS), ratios(known, study, keys, KNOWN, KEYS)])


def _states(run: str, frame: pd.DataFrame, study: Study) -> pd.Series:
    """What wrote each row: base, naive or unlearned model, this cleared by the primary clearing, or a null by name."""
    names = {"none": "base" if run == "base" else "unlearned", study.primary: "cleared"}
    return frame.clearing.map(lambda name: names.get(name, name)).mask(frame.naive, "naive")
