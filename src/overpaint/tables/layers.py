"""How much more comes back at one layer than at another, at the same c: paired over seeds, units and base models."""

from itertools import combinations

import numpy as np
import pandas as pd

from overpaint.tables import core, scores, statistics
from overpaint.tables.core import NONE, Applied, Study

KEYS = ["lower", "upper"]
COLUMNS = [*core.RUN, *KEYS, "sizes", "models", "value", "low", "high", "above"]
Cells = dict[tuple[int, float], np.ndarray]  # recovered fractions of (layer, c), in the sample and in every resample


def layers(answers: dict[str, pd.DataFrame], cells: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The differences between the recovered fractions of every two layers in one base model, on average over c.

    answers: see `scores.scores`.    cells: its table of cells; those with a mark or without a recovered fraction are
    left out. All are resampled together, so that what seeds and units do to both layers does not count.
    """
    answers = scores.of_split(answers, study.split)
    told = cells[cells.quantity.eq("recovered_accuracy") & cells.mark.eq("")].dropna(subset="value")
    rows = []
    for method, part in told.groupby("method", sort=False):
        kept = {*zip(part.layer, part.c, strict=True)}
        found = {
            place: _fractions(answers, members, study)
            for members in study.cells(run for run in study.runs if study.runs[run]["method"] == method)
            if (place := (study.runs[members[0]]["layer"], study.runs[members[0]]["c"])) in kept
        }
        start = part[core.RUN].iloc[0].to_dict() | {"layer": None, "c": None}
        rows += [start | row for row in _differences(found)]
    return core.typed(pd.DataFrame(rows, columns=COLUMNS))


def together(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its means over base models after it, where there are several, and their t intervals."""
    from scipy.stats import t

    rows = []
    for _, part in table.groupby(["study", "method", *KEYS], sort=False):
        if (count := len(part)) > 1:
            middle, half = part.value.mean(), t.ppf(0.975, count - 1) * part.value.std(ddof=1) / count**0.5
            ends = {"value": middle, "low": middle - half, "high": middle + half, "above": (part.value > 0).mean()}
            rows.append(part.iloc[0].to_dict() | {"model": "all", "models": count, "sizes": part.sizes.min()} | ends)
    return pd.concat([table, core.typed(pd.DataFrame(rows, columns=COLUMNS))], ignore_index=True) if rows else table


def _differences(found: Cells) -> list[dict]:
    """A row for every two layers that have some c in common."""
    rows = []
    for lower, upper in combinations(sorted({layer for layer, _ in found}), 2):
        sizes = [c for layer, c in found if layer == lower and (upper, c) in found]
        if sizes:
            samples = np.mean([found[upper, c] - found[lower, c] for c in sizes], 0)
            low, high = np.nanquantile(samples[1:], [0.025, 0.975])
            ends = {"value": samples[0], "low": low, "high": high, "above": (samples[1:] > 0).mean()}
            rows.append({"lower": lower, "upper": upper, "sizes": len(sizes), "models": 1} | ends)
    return rows


def _fractions(answers: dict[str, pd.DataFrame], members: list[str], study: Study) -> np.ndarray:
    """The recovered fraction of one cell on all hazardous questions, in the sample and in every resample."""
    how = Applied(study.primary)
    base, *runs = (
        scores.by_clearing(frame[frame.clearing.isin(["none", study.primary])], study.hazardous)
        for frame in (answers[run] for run in ("base", *members))
    )
    names = [name for key, name in runs[0] if key == how and runs[0][how, name].kind == "question"]
    names = [name for name in names if runs[0][how, name].topic in study.hazardous]
    known, start, after = (
        statistics.means(scores.stack(units, key, names, "correct"))
        for units, key in (([base] * len(runs), NONE), (runs, NONE), (runs, how))
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have no gap at all
        return (after - start) / (known - start)
