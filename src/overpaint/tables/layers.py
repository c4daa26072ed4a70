"""How much more comes back at one layer than at another, at the same c: paired over seeds and units."""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from overpaint.tables import core, scores, statistics
from overpaint.tables.core import NONE, Applied, Study

KEYS = ["lower", "upper"]
COLUMNS = [*core.RUN, *KEYS, "sizes", "models", "value", "low", "high", "above"]


class Place(NamedTuple):
    """A cell of the sweep."""

    method: str
    layer: int
    c: float


Fractions = dict[Place, np.ndarray]  # recovered fractions in the sample and in every resample, [1 + REPEATS]


def fractions(answers: dict[str, pd.DataFrame], cells: pd.DataFrame, study: Study) -> Fractions:
    """The recovered fraction of the cells of one base model on all hazardous questions, by the primary clearing.

    answers: see `scores.scores`.    cells: its table of cells; those with a mark or without a recovered fraction are
    left out. All are resampled together, so that what seeds and units do to two of them does not count.
    """
    answers = scores.of_split(answers, study.split)
    told = cells[cells.quantity.eq("recovered_accuracy") & cells.mark.eq("")].dropna(subset="value")
    kept = {*zip(told.method, told.layer, told.c, strict=True)}
    places = {
        Place(*(study.runs[members[0]][key] for key in Place._fields)): members for members in study.cells(study.runs)
    }
    return {place: _fraction(answers, members, study) for place, members in places.items() if place in kept}


def layers(found: Mapping[str, Fractions], study: str) -> pd.DataFrame:
    """The differences between the recovered fractions of every two layers, on average over c.

    found: by base model; where there are several, the means over them come last.
    """
    by_model = {model: _differences(fractions) for model, fractions in found.items()}
    rows = [
        _row(study, model, key, sizes, samples[None])
        for model, differences in by_model.items()
        for key, (sizes, samples) in differences.items()
    ]
    for key in dict.fromkeys(key for differences in by_model.values() for key in differences):
        known = [differences[key] for differences in by_model.values() if key in differences]
        if len(known) > 1:
            sizes, samples = zip(*known, strict=True)
            rows.append(_row(study, "all", key, min(sizes), np.stack(samples)))
    return core.typed(pd.DataFrame(rows, columns=COLUMNS))


def _differences(found: Fractions) -> dict[tuple[str, int, int], tuple[int, np.ndarray]]:
    """{(method, lower, upper): (how many c, samples)} of every two layers that have some c in common."""
    differences = {}
    for method in dict.fromkeys(place.method for place in found):
        mine = {place[1:]: samples for place, samples in found.items() if place.method == method}
        for lower, upper in combinations(sorted({layer for layer, _ in mine}), 2):
            sizes = [c for layer, c in mine if layer == lower and (upper, c) in mine]
            if sizes:
                samples = np.mean([mine[upper, c] - mine[lower, c] for c in sizes], 0)
                differences[method, lower, upper] = len(sizes), samples
    return differences


def _row(study: str, model: str, key: tuple[str, int, int], sizes: int, samples: np.ndarray) -> dict:
    """A row of one base model or of several; samples: [models, 1 + REPEATS]."""
    method, lower, upper = key
    columns = {"study": study, "model": model, "method": method, "layer": None, "c": None, "seed": "all"}
    columns |= {"lower": lower, "upper": upper, "sizes": sizes, "models": len(samples)}
    if len(samples) > 1:
        told, _ = statistics.over_models(samples)
        above = (samples[:, 0] > 0).mean()
        return columns | {"value": told.value, "low": told.low, "high": told.high, "above": above}
    low, high = np.nanquantile(samples[0, 1:], [0.025, 0.975])
    return columns | {"value": samples[0, 0], "low": low, "high": high, "above": (samples[0, 1:] > 0).mean()}


def _fraction(answers: dict[str, pd.DataFrame], members: list[str], study: Study) -> np.ndarray:
    """The recovered fraction of one cell, in the sample and in every resample."""
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
