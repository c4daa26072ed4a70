"""The table of unlearning depth scores, and of what they come to."""

import pandas as pd

from overpaint.sources import PARTS
from overpaint.tables.core import Study
from overpaint.tables.ratios import Frames, ratios

KEYS = ["part", "state", "quantity", "block"]
TOGETHER = -1  # instead of a block: all of them


def table(frames: Frames, study: Study) -> pd.DataFrame:
    """UDS and its share by block in each state, and what of the score clearing takes away.

    frames: rows of `measure.measure` per run.
    """
    frames = {run: with_parts(pd.concat([rows, derived(rows)], ignore_index=True)) for run, rows in frames.items()}
    made = ratios(frames, study, KEYS, {"": ("value", "rows")}, KEYS)
    return made.assign(block=made.block.where(made.block != TOGETHER).astype("Int64"))


def derived(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the three parts of each question: `painted_over`, `beneath` and `untouched`; together they are 1.

    untouched: 1 - UDS of the unlearned model; beneath: UDS of the cleared one; painted_over: the difference of both
    scores, below 0 where clearing costs more than it gives.
    """
    keys = ["topic", "unit", "part", "question"]
    uds = rows[rows.quantity == "uds"].pivot(index=keys, columns="state", values="value")
    if not {"unlearned", "cleared"} <= {*uds}:
        return rows.iloc[:0]
    shares = {"painted_over": uds.unlearned - uds.cleared, "beneath": uds.cleared, "untouched": 1 - uds.unlearned}
    told = pd.DataFrame(shares).rename_axis("quantity", axis=1).stack().rename("value").reset_index()
    return told.assign(state="", block=TOGETHER)[list(rows.columns)]


def with_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, all together and by part."""
    return pd.concat([rows.assign(part="all"), rows[rows.part.isin(PARTS)]], ignore_index=True)
