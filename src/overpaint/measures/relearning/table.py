"""The table of what is answered after given numbers of texts."""

import pandas as pd

from overpaint.tables.core import Study
from overpaint.tables.ratios import Frames, ratios

KEYS = ["state", "examples", "metric"]


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy and nats after given numbers of texts. frames: rows of `measure.relearn` per run, with state."""
    return ratios(frames, study, KEYS[:2], {"accuracy": ("correct", "rows"), "nll": ("nll", "rows")}, KEYS)
