"""The table of what is answered under perturbations."""

import numpy as np
import pandas as pd

from overpaint.tables import statistics
from overpaint.tables.core import Study, joined
from overpaint.tables.ratios import Frames, cells, ratios, samples, sums, values
from overpaint.tables.ratios import table as table_of

KEYS = ["state", "perturbation", "size"]
CHOSEN = ("rounding", "noise")  # of which the size that lets a model answer most is told, too


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """Accuracy by size, draws together, and at the size of `CHOSEN` with the most right answers (`size` empty).

    frames: rows of `measure.of_job` per run.
    """
    parts = {run: sums(frame, KEYS, ["value", "rows"], study.hazardous) for run, frame in frames.items()}
    rows = []
    for columns, members in cells(study, parts):
        for topic, state, how in dict.fromkeys(key[:3] for key in members[0] if key[2] in CHOSEN):
            keys = [key for key in members[0] if key[:3] == (topic, state, how)]
            most = statistics.estimate(np.max([samples(members, key) for key in keys], axis=0))
            label = study.of_topic(topic) | {"state": state, "perturbation": how, "size": np.nan}
            rows.append(columns | label | values(len(members[0][keys[0]].units), most))
    return joined([ratios(frames, study, KEYS, {"": ("value", "rows")}, KEYS), table_of(rows, KEYS)])
