"""What the text asks of a study of which matrices are trained."""

from typing import Any

import pandas as pd

from overpaint.findings.kept import Kept
from overpaint.report.select import overall


def subsets(kept: Kept) -> list[dict[str, Any]]:
    """Of each subset of blocks, fewer first: its blocks, c, and means over base models of what was lost and came back.

    recovered: a value per base model.
    """
    rows, cells = [], kept.family
    for method, own in cells.groupby("method", sort=False):
        layer, values = int(own.layer.iloc[0]), own.pivot(index="model", columns="quantity", values="value")
        row = {
            "method": method,
            "blocks": sorted(layer + offset for offset in kept.config["methods"][method]["updated"]),
            "c": own.c.iloc[0],
            "lost": values.forgotten_accuracy.mean(),
            "lost_fit": values.forgotten_fit.mean(),
            "damage": values.damage.mean(),
            "recovered": values.recovered_accuracy,
            "beneath": _beneath(kept, method),
        }
        rows.append(row)
    return sorted(rows, key=lambda row: (len(row["blocks"]), row["blocks"]))


def by_number(rows: list[dict[str, Any]]) -> dict[int, pd.Series]:
    """{number of blocks: mean over its subsets of what comes back, by base model}."""
    numbers = sorted({len(row["blocks"]) for row in rows})
    return {n: pd.DataFrame([row["recovered"] for row in rows if len(row["blocks"]) == n]).mean() for n in numbers}


def _beneath(kept: Kept, method: str) -> float:
    """Mean over base models of what the depth score of the cleared model still misses."""
    uds = kept.tables["uds"]
    rows = uds[uds.method.eq(method) & uds.quantity.eq("beneath") & uds.part.eq("all") & uds.seed.eq("all")]
    return overall(rows, "hazardous").value.mean()
