"""The table of what logit lens and probes find at each depth."""

import pandas as pd

from overpaint.tables.core import Study
from overpaint.tables.ratios import Frames, ratios

KEYS = ["state", "centring", "depth", "quantity"]


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy of logit lens and probes at each depth. frames: rows of `measure.measure` per run, with state."""
    return ratios(frames, study, KEYS, {"": ("value", "rows")}, KEYS)
