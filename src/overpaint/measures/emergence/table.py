"""The table of a run at the steps of its training."""

import numpy as np
import pandas as pd

from overpaint.tables import statistics
from overpaint.tables.core import Study
from overpaint.tables.ratios import Frames, cells, means, sums, values
from overpaint.tables.ratios import table as table_of
from overpaint.tables.statistics import Estimate

KEYS = ["step", "quantity"]


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """Norm, cosine with u, forgotten and recovered accuracy by step. frames: rows of `measure.trace` per run."""
    rows, parts = [], {run: sums(frame, KEYS, ["value", "rows"], study.hazardous) for run, frame in frames.items()}
    for columns, members in cells(study, parts):
        for topic, step in dict.fromkeys(key[:2] for key in members[0]):
            here = {key[2]: means(members, key) for key in members[0] if key[:2] == (topic, step)}
            for quantity, (count, estimate) in _emerged(here).items():
                label = study.of_topic(topic) | {"step": step, "quantity": quantity}
                rows.append(columns | label | values(count, estimate))
    return table_of(rows, KEYS)


def _emerged(means: dict[str, np.ndarray]) -> dict[str, tuple[int, Estimate]]:
    """{quantity: (units, estimate)} at one step of one topic, from means [seeds, units]."""
    base, unlearned, cleared = (means.pop(f"correct_{state}") for state in ("base", "unlearned", "cleared"))
    values = {quantity: (units.shape[1], statistics.mean(units)) for quantity, units in means.items()}
    return values | {
        "forgotten_accuracy": (base.shape[1], statistics.mean(base - unlearned)),
        "recovered_accuracy": (base.shape[1], statistics.recovered_fraction(base, unlearned, cleared)),
    }
