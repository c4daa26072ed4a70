"""The table of how far a run's predictions on running text are from the base's."""

import pandas as pd

from overpaint.tables.core import APPLIED, TOGETHER, Study, as_applied
from overpaint.tables.ratios import HOW, Frames, ratios

KEYS = [*APPLIED, "benchmark", "metric"]
METRICS = {"kl": ("kl", "tokens"), "top1_agreement": ("agreed", "tokens")}


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """KL(base || model) in nats per token and the share of tokens with the base's first choice, on running text.

    frames: rows of `measure.compare` per run.
    """
    applied = {run: as_applied(frame, study.hazardous) for run, frame in frames.items()}
    applied = {run: frame[frame.refit == TOGETHER] for run, frame in applied.items()}
    return ratios(applied, study, [*HOW, "benchmark"], METRICS, KEYS)
