"""The map of a study, cell by cell, and the judgement of what its plan claims, from the tables alone."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from overpaint.tables import core

OF_SCORES = ("forgotten_accuracy", "gained_accuracy", "recovered_accuracy", "recovered_nll")
OF_JUNK = ("attained", "attained_held", "rank1_share", "rank1_share_held", "c_in_norms")
CELL = ["model", "method", "layer", "c"]
CELLS = [*core.RUN, "family", "topic", "mark", "choice", "quantity", "value", "low", "high", "note"]
CHOSEN, OVER = "chosen", "over budget"
HYPOTHESES = [
    *core.RUN, "hypothesis", "claim", "test", "confirmatory", "cells", "value", "low", "high", "needed", "verdict",
]  # fmt: skip
HOLDS, FAILS, FEW, UNDECIDED = "holds", "fails", "too few cells", "undecided"

Judgement = tuple[int, float, float, bool]  # cells, value, needed, whether it is so
TESTS: dict[str, Callable[..., Judgement]] = {}


def cells(
    scores: pd.DataFrame,
    junk: pd.DataFrame,
    marks: dict[str, float],
    fit: pd.DataFrame | None = None,
    families: Mapping[str, str] | None = None,
    budget: float = 0.0,
    perplexity_budget: float = 0.0,
) -> pd.DataFrame:
    """The main numbers of every cell, seeds together, its mark by the rule of the plan, and what is chosen of them.

    scores, junk: tables of one model.    fit: the scores of those answers that settings are chosen by.
    marks: points of accuracy, see workflow/schemas/preregistration.schema.yaml.
    families: {method: the one whose variant it is}.    budget: points of benign accuracy that a chosen one costs.
    perplexity_budget: per cent of benign perplexity, where no benign question is asked.
    A cell that is both collapsed and not unlearned is marked collapsed.
    """
    rows, every = [], scores[scores.seed == "all"]
    known = [None if table is None else table[table.method == "base"] for table in (scores, fit)]
    for cell, part in every.groupby(CELL, sort=False, dropna=False):
        on_fit = None if fit is None else fit[_of_cell(fit, cell) & fit.seed.eq("all") & fit.part.eq("all")]
        quantities = dict(_measured_in_cell(part, junk[_of_cell(junk, cell)], on_fit))
        quantities |= rises(part, known[0], "perplexity_rise")
        quantities |= {} if fit is None else rises(on_fit, known[1], "perplexity_rise_fit")
        mark = _mark(quantities, marks)
        columns = part[core.RUN].iloc[0].to_dict() | {"topic": _overall(part).topic.iloc[0], "mark": mark}
        columns["family"] = (families or {}).get(columns["method"], columns["method"])
        rows += [columns | {"quantity": quantity} | values for quantity, values in quantities.items()]
    table = core.typed(pd.DataFrame(rows, columns=CELLS))
    return table.assign(choice=_choices(table, budget / 100, perplexity_budget / 100))


def _of_cell(table: pd.DataFrame, cell: tuple) -> pd.Series:
    wanted = pd.Series(cell, CELL)
    return (table[CELL].eq(wanted) | (table[CELL].isna() & wanted.isna())).all(axis=1)


def _choices(table: pd.DataFrame, budget: float, perplexity_budget: float) -> list[str]:
    """What is chosen at each layer and c of the methods of a family that differ in their settings alone.

    On the answers of `fit`: of those whose benign damage is within the budget (a rise of benign perplexity, where no
    benign question was asked) the one that forgets most; where none is, the one that damages least.
    """
    wide = table.pivot(index=["family", *CELL[1:]], columns="quantity", values="value").reset_index()
    needed = {"damage_fit", "perplexity_rise_fit", "forgotten_fit"}
    wide = wide.reindex(columns=[*wide.columns, *needed.difference(wide.columns)])
    chosen = {}
    for _, cells in wide.groupby(["family", "layer", "c"], dropna=False):
        asked = cells.damage_fit.notna().any()
        cost, most = ("damage_fit", budget) if asked else ("perplexity_rise_fit", perplexity_budget)
        within = cells[cells[cost] <= most]
        best = within.sort_values("forgotten_fit", ascending=False) if len(within) else cells.sort_values(cost)
        row = best.iloc[0]
        chosen[row.method, row.layer, row.c] = CHOSEN if len(within) else OVER if pd.notna(row[cost]) else ""
    return [chosen.get((row.method, row.layer, row.c), "") for row in table.itertuples()]


def rises(scores: pd.DataFrame, base: pd.DataFrame, name: str) -> dict[str, dict]:
    """{name: by what share the perplexity of benign texts rose without clearing, the most of any benign topic}."""
    texts = [rows[rows.metric.eq("perplexity") & rows.role.eq("benign")] for rows in (scores, base)]
    if not len(texts[1]):
        return {}
    after, before = (rows[rows.kind == "none"].groupby("benchmark").value.first() for rows in texts)
    return {name: {"value": (after / before - 1).max(), "low": np.nan, "high": np.nan, "note": ""}}


def _measured_in_cell(scores: pd.DataFrame, junk: pd.DataFrame, fit: pd.DataFrame | None) -> Iterator[tuple[str, dict]]:
    """(quantity, {value, low, high, note}) of one cell."""
    for part in scores.part.unique():
        suffix, of_part = "" if part == "all" else f"_{part.replace(' ', '_')}", scores[scores.part == part]
        rows = _overall(of_part)
        for metric in OF_SCORES:
            kind = "none" if metric.startswith("forgotten") else "primary"
            yield f"{metric}{suffix}", _first(rows[(rows.metric == metric) & (rows.kind == kind)])
        yield f"damage{suffix}", _first(damage(of_part))
    if fit is not None:
        rows = _overall(fit)
        yield "forgotten_fit", _first(rows[rows.metric == "forgotten_accuracy"])
        yield "damage_fit", _first(damage(fit))
    for quantity in OF_JUNK:
        values = junk.value[junk.quantity == quantity].dropna()
        if len(values):
            yield quantity, {"value": values.mean(), "low": values.min(), "high": values.max(), "note": ""}


def damage(scores: pd.DataFrame) -> pd.DataFrame:
    """What each benign topic lost without clearing, most first."""
    lost = scores[(scores.role == "benign") & (scores.metric == "forgotten_accuracy") & (scores.kind == "none")]
    return lost.sort_values("value", ascending=False)


def _overall(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows on all hazardous questions together, or on those of the only topic."""
    rows = scores[(scores.role == "hazardous") & scores.metric.isin(OF_SCORES)]
    return rows[rows.topic == "all"] if rows.topic.eq("all").any() else rows


def _first(rows: pd.DataFrame) -> dict:
    nothing = {"value": np.nan, "low": np.nan, "high": np.nan, "note": "not measured"}
    return rows[list(nothing)].iloc[0].to_dict() if len(rows) else nothing


def _mark(quantities: dict[str, dict], marks: dict[str, float]) -> str:
    lost, damage = quantities["forgotten_accuracy"], quantities["damage"]
    if 100 * damage["value"] > marks["collapsed"]:
        return "collapsed"
    few = not 100 * lost["value"] >= marks["not_unlearned"]  # also where it is not a number
    return "not unlearned" if few or not lost["low"] > 0 else ""


def judge(table: pd.DataFrame, nulls: pd.DataFrame, mcnemar: pd.DataFrame, plan: dict) -> pd.DataFrame:
    """The judgement of every hypothesis of a plan in one base model, by each method.

    table: of `cells`.    nulls, mcnemar: the tables of `comparisons`.
    plan: see workflow/schemas/preregistration.schema.yaml.
    """
    rows = []
    for (study, model, method), cells in table.groupby(["study", "model", "method"], sort=False):
        wide = cells[cells.mark == ""].pivot(index=["layer", "c"], columns="quantity", values=["value", "high"])
        tests = {name: _tests_of(part, cells) for name, part in (("nulls", nulls), ("mcnemar", mcnemar))}
        planned = study in plan["studies"] and model in plan.get("models", [model])
        planned = planned and method == cells.family.iloc[0]  # variants of it are beside what was planned
        for name, rule in plan["hypotheses"].items():
            if rule["test"] not in TESTS:  # those of `models`
                continue
            count, value, needed, so = TESTS[rule["test"]](wide, rule, **tests)
            verdict = FEW if count < plan["least"] else HOLDS if so else FAILS
            rows.append(
                {"study": study, "model": model, "method": method, "layer": None, "c": None, "seed": "all"}
                | {"hypothesis": name, "claim": rule["claim"], "test": rule["test"]}
                | {"confirmatory": planned, "cells": count, "value": value, "low": np.nan, "high": np.nan}
                | {"needed": needed}
                | {"verdict": verdict}
            )
    return core.typed(pd.DataFrame(rows, columns=HYPOTHESES))


def together(judged: pd.DataFrame) -> pd.DataFrame:
    """The judgements with those over all base models after them, where there are several: what all agree on."""
    if judged.model.nunique() < 2:
        return judged
    rows = []
    for _, part in judged.groupby(["study", "method", "hypothesis"], sort=False):
        verdict = part.verdict.iloc[0] if part.verdict.nunique() == 1 else UNDECIDED
        numbers = {"cells": part.cells.sum(), "value": np.nan, "needed": np.nan, "verdict": verdict}
        numbers["confirmatory"] = part.confirmatory.all()
        rows.append(part.iloc[0].to_dict() | {"model": "all"} | numbers)
    return pd.concat([judged, core.typed(pd.DataFrame(rows, columns=HYPOTHESES))], ignore_index=True)


def _tests_of(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Rows of the primary clearing on the topic of `cells`, of its model and method, seeds together, by layer and c."""
    same = table.model.eq(cells.model.iloc[0]) & table.method.eq(cells.method.iloc[0]) & table.seed.eq("all")
    rows = table[same & table.kind.eq("primary") & table.topic.eq(cells.topic.iloc[0])]
    return rows.drop_duplicates(["layer", "c", *({"null", "metric"} & set(rows))]).set_index(["layer", "c"])


def _test(function: Callable[..., Judgement]) -> Callable[..., Judgement]:
    TESTS[function.__name__.strip("_")] = function
    return function


def _share(so: pd.Series, needed: float) -> Judgement:
    """In how many cells it is so, of those in which it was measured."""
    value = float(so.mean()) if len(so) else np.nan
    return len(so), value, needed, bool(value >= needed)


@_test
def _recovers(wide: pd.DataFrame, rule: dict, nulls: pd.DataFrame, mcnemar: pd.DataFrame) -> Judgement:
    """More facts are gained than lost by clearing, at a level after Holm's correction."""
    tested = mcnemar[mcnemar.index.isin(wide.index)].dropna(subset="p_holm")
    return _share((tested.p_holm < rule["level"]) & (tested.gained > tested.lost), rule["share"])


@_test
def _beats_draws(wide: pd.DataFrame, rule: dict, nulls: pd.DataFrame, mcnemar: pd.DataFrame) -> Judgement:
    """The accuracy after clearing is above that with each random draw in the junk's place."""
    drawn = nulls[nulls.index.isin(wide.index) & nulls.metric.eq("accuracy") & nulls.null.eq(rule["draws"])]
    return _share(drawn.value > drawn.null_best, rule["share"])


@_test
def _below_one(wide: pd.DataFrame, rule: dict, nulls: pd.DataFrame, mcnemar: pd.DataFrame) -> Judgement:
    """The interval of the recovered fraction ends below 1."""
    return _share(_quantity(wide, "high") < 1, rule["share"])


@_test
def _layer_over_c(wide: pd.DataFrame, rule: dict, nulls: pd.DataFrame, mcnemar: pd.DataFrame) -> Judgement:
    """The recovered fraction ranges more widely over layers at one c than over c at one layer, on average."""
    recovered = _quantity(wide, "value")
    levels = {key: recovered.index.get_level_values(key) for key in ("c", "layer")}
    ranges = {key: recovered.groupby(of).agg(["min", "max", "size"]).query("size > 1") for key, of in levels.items()}
    over_layers, over_c = (float((extremes["max"] - extremes["min"]).mean()) for extremes in ranges.values())
    count = len(recovered) if np.isfinite(over_layers) and np.isfinite(over_c) else 0
    return count, over_layers, over_c, over_layers > over_c


def _quantity(wide: pd.DataFrame, column: str) -> pd.Series:
    """The defined recovered fractions, or ends of their intervals, by layer and c."""
    if ("value", "recovered_accuracy") not in wide:
        return pd.Series(index=wide.index[:0], dtype=float)
    return wide[column, "recovered_accuracy"].dropna()
