"""What comes back on average over base models, and what a plan claims of that."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from overpaint.tables import core, statistics
from overpaint.tables.layers import Fractions, Place
from overpaint.tables.verdicts import FAILS, FEW, HOLDS, HYPOTHESES

COLUMNS = [*core.RUN, "models", "value", "low", "high", "spread", "above"]
TEST = "over_models"


def models(found: Mapping[str, Fractions], study: str) -> pd.DataFrame:
    """The mean recovered fraction of every cell over the base models in which it has no mark, where these are several.

    found: by base model.
    """
    rows = []
    for place in dict.fromkeys(place for fractions in found.values() for place in fractions):
        samples = [fractions[place] for fractions in found.values() if place in fractions]
        if len(samples) > 1:
            told, spread = statistics.over_models(np.stack(samples))
            columns = {"study": study, "model": "all", "seed": "all"} | place._asdict() | {"models": len(samples)}
            ends = {"value": told.value, "low": told.low, "high": told.high, "spread": spread}
            rows.append(columns | ends | {"above": np.mean([one[0] > 0 for one in samples])})
    return core.typed(pd.DataFrame(rows, columns=COLUMNS))


def judge(found: Mapping[str, Fractions], study: str, plan: dict) -> pd.DataFrame:
    """The judgement of every hypothesis of a plan that is about the mean over base models.

    It holds where the whole interval is above (below) what the rule names. A base model counts where the cells that
    the rule names have no mark.
    """
    named = study in plan["studies"] and {*found} == {*plan.get("models", found)}
    rows = []
    for name, rule in plan["hypotheses"].items():
        if rule["test"] == TEST:
            samples = _samples(found, rule)
            told, _ = statistics.over_models(samples, rule["level"])
            above, needed = "above" in rule, rule.get("above", rule.get("below"))
            so = told.low > needed if above else told.high < needed
            verdict = FEW if len(samples) < max(2, plan["least"]) else HOLDS if so else FAILS
            rows.append(
                {"study": study, "model": "all", "method": "all", "layer": None, "c": None}
                | {"seed": "all", "hypothesis": name, "claim": rule["claim"], "test": TEST, "confirmatory": named}
                | {"cells": len(samples), "value": told.value, "low": told.low, "high": told.high}
                | {"needed": needed, "verdict": verdict}
            )
    return core.typed(pd.DataFrame(rows, columns=HYPOTHESES))


def _samples(found: Mapping[str, Fractions], rule: dict) -> np.ndarray:
    """What the rule is about, of every base model in which it is known: [models, 1 + REPEATS]."""
    sides = [_side(found, rule[name]) for name in ("of", "less") if name in rule]
    first, *rest = sides
    samples = [
        one - other[0] if other else one
        for one, *other in zip(first, *rest, strict=True)
        if one is not None and (not other or other[0] is not None)
    ]
    return np.stack(samples) if samples else np.empty((0, 1 + statistics.REPEATS))


def _side(found: Mapping[str, Fractions], side: dict) -> list[np.ndarray | None]:
    """The fractions of one cell by base model: all, or those that are named, in that order."""
    place = Place(side["method"], side["layer"], float(side["c"]))
    return [found.get(model, {}).get(place) for model in side.get("models", found)]
