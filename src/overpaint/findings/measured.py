"""What the text asks of the kept tables of a study: rows, cells and comparisons."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from overpaint.findings.depths import read_off
from overpaint.findings.kept import Kept
from overpaint.findings.making import layers_of
from overpaint.findings.phrases import Row, hundredths, number_word, percent_interval, points_interval
from overpaint.report.sections.finding import clearings
from overpaint.report.select import Cell, ceiling, cells, first_or_none, first_where, in_cell, null_draws, overall
from overpaint.report.wording import share_of
from overpaint.sources import PARTS
from overpaint.tables import statistics

OF_PARTS = ("recovered_accuracy", "damage")  # quantities that are told of each part


def base(kept: Kept, role: str = "hazardous", metric: str = "accuracy") -> pd.DataFrame:
    """The base models' rows on all topics of a role together, one each."""
    rows = kept.scores[kept.scores.method.eq("base") & kept.scores.metric.eq(metric)]
    return overall(rows, role)


def score(kept: Kept, cell: Cell, metric: str, clearing: str = "none", role: str = "hazardous", **wanted: Any) -> Row:
    """One number of a cell, all topics and seeds together; by a clearing's own topics and all its draws."""
    rows = in_cell(kept.scores, cell)
    rows = rows[rows.metric.eq(metric) & rows.clearing.eq(clearing) & rows.draw.isna()]
    return first_where(overall(rows, role), **({"other_topic": False} | wanted))


def sweep(kept: Kept) -> list[dict[str, Any]]:
    """Every cell with what the tables of the text show of it."""
    return [_cell(kept, cell) for cell in cells(kept.scores)]


def _cell(kept: Kept, cell: Cell) -> dict[str, Any]:
    drawn, named = in_cell(kept.nulls, cell), in_cell(kept.cells, cell).set_index("quantity")
    parts = [part.replace(" ", "_") for part in PARTS if f"damage_{part.replace(' ', '_')}" in named.index]
    after = {"clearing": kept.primary}
    return {
        "cell": cell,
        "mark": named.loc["damage", "mark"],
        "parts": {part: {name: named.loc[f"{name}_{part}"] for name in OF_PARTS} for part in parts},
        "unlearned": score(kept, cell, "accuracy"),
        "cleared": score(kept, cell, "accuracy", **after),
        "recovered": score(kept, cell, "recovered_accuracy", **after),
        "gained": score(kept, cell, "gained_accuracy", **after),
        "likelihood": score(kept, cell, "recovered_nll", **after),
        "best": dict(zip(drawn.null, zip(drawn.null_best, drawn.single_best, strict=True), strict=True)),
        "benign": score(kept, cell, "accuracy", role="benign"),
        "benign_cleared": score(kept, cell, "accuracy", role="benign", **after),
    }


def values(kept: Kept, quantity: str, marked: bool = True, **wanted: Any) -> pd.DataFrame:
    """Rows of the table of cells of one quantity that have a value; marked: also of cells with a mark."""
    rows = kept.cells[kept.cells.quantity.eq(quantity)].dropna(subset="value")
    for column, this in wanted.items():
        rows = rows[rows[column].eq(this)]
    return rows if marked else rows[rows.mark == ""]


def cell_of(kept: Kept, quantity: str, **wanted: Any) -> Row:
    """The row of one quantity in the one cell that `wanted` names."""
    rows = kept.cells[kept.cells.quantity.eq(quantity)]
    return first_where(rows, **wanted)


def at_budget(kept: Kept, **wanted: Any) -> str:
    """`300: 26 → 96 (90–100)`: how the chosen variant of the one cell that `wanted` names ends, and what it does."""
    cells = kept.family[kept.family.choice.eq("chosen")]
    here = first_where(cells, **wanted)
    if here is None:
        return "none"
    name = here.method.removeprefix(kept.cells.method.iloc[0]).removeprefix("_")
    return f"{name or 'as above'}: {lost_to_back(kept, cells, **wanted)}"


def lost_to_back(kept: Kept, cells: pd.DataFrame | None = None, **wanted: Any) -> str:
    """`52 → 36 (19–50) *collapsed*` of the one cell that `wanted` names; `9 → 5 points (1–9)` of one not defined.

    cells: rows of that table in place of those of the methods that are no variants.
    """
    names = ("forgotten", "recovered", "gained")
    rows = kept.cells if cells is None else cells
    lost, back, gained = (first_where(rows[rows.quantity.eq(f"{name}_accuracy")], **wanted) for name in names)
    if lost is None or back is None:
        return "–"
    text = points_interval(gained) if np.isnan(back.value) else percent_interval(back)
    return f"{hundredths(lost.value)} → {text}" + (f" *{lost.mark}*" if lost.mark else "")


def gained(kept: Kept, p: str = "p_holm") -> int:
    """In how many cells more facts are gained than lost by clearing, at 0.05 after Holm's correction."""
    return int(((kept.mcnemar[p] < 0.05) & (kept.mcnemar.gained > kept.mcnemar.lost)).sum())


def benign_lost_cleared(kept: Kept) -> list[float]:
    """By how much the cleared model's benign accuracy is below the base's, in every cell."""
    before = base(kept, "benign").iloc[0].value
    return [before - row["benign_cleared"].value for row in sweep(kept)]


def below_one(kept: Kept) -> tuple[int, int]:
    """In how many cells the interval of the recovered fraction ends below 1, and in how many it is defined."""
    rows = values(kept, "recovered_accuracy")
    return int((rows.high < 1).sum()), len(rows)


def under_ceiling(kept: Kept) -> tuple[list[float], float]:
    """Accuracies of the base cleared alike, and by how much recovered fractions up to these differ at most from those.

    Over the cells of which a recovered fraction is defined.
    """
    ceilings, apart = [], []
    for cell in cells(kept.scores):
        start, after, back = (
            score(kept, cell, "accuracy"), score(kept, cell, "accuracy", kept.primary),
            score(kept, cell, "recovered_accuracy", kept.primary),
        )  # fmt: skip
        rows = in_cell(kept.scores, cell)
        rows = ceiling(overall(rows[rows.metric.eq("accuracy")], "hazardous"), kept.config["clearings"], kept.primary)
        if len(rows) and pd.notna(back.value):
            ceilings.append(rows.value.iloc[0])
            apart.append(abs((after.value - start.value) / (ceilings[-1] - start.value) - back.value))
    return ceilings, max(apart, default=np.nan)


def beats(kept: Kept) -> dict[str, Any]:
    """In which cells the cleared model is above every draw of every null, and in which not, with the p of each null.

    Draws are means over seeds; `own`: in how many cells it is above each draw of its own in every seed.
    """
    rows = kept.nulls.assign(above=kept.nulls.value > kept.nulls.null_best)
    rows = rows.assign(own=rows.seeds_above == rows.seeds)
    by_cell = rows.groupby(["model", "layer", "c"], sort=False)[["above", "own"]].all()
    rest = [f"{_place(kept, row)} against `{row.null}` (p = {row.p:.2f})" for row in rows[~rows.above].itertuples()]
    draws = rows.groupby("null", sort=False).draws.first()
    texts = [f"{count} `{null}`" for null, count in draws.items()]
    found = {"above": int(by_cell.above.sum()), "own": int(by_cell.own.sum()), "cells": len(by_cell), "not": rest}
    return found | {"draws": texts, "least": rows.draws.max()}


def _place(kept: Kept, row: Any) -> str:
    model = f"`{row.model}`, " if len(kept.models) > 1 else ""
    return f"{model}{Cell(row.layer, row.c)}"


def best_draw(kept: Kept, cell: Cell) -> Row:
    """The recovered fraction of the null direction, or draw of one, that brings back most."""
    rows = in_cell(kept.scores, cell)
    drawn = null_draws(overall(rows[rows.metric.eq("recovered_accuracy")], "hazardous")).sort_values("value")
    return first_or_none(drawn.iloc[::-1])


def best_single(kept: Kept, cell: Cell) -> float:
    """The largest recovered fraction of a single random draw in a single seed."""
    return float(in_cell(kept.nulls, cell).single_back.max())


def on_average(kept: Kept, null: str) -> list[float]:
    """The recovered fraction of a null in every cell, on average over its draws."""
    rows = (score(kept, cell, "recovered_accuracy", null) for cell in cells(kept.scores))
    return [row.value for row in rows if row is not None]


def fluency(kept: Kept, cell: Cell) -> list[dict[str, Any]]:
    """The perplexity of the hazardous texts of each topic: base, unlearned, cleared."""
    texts = kept.scores[kept.scores.metric.eq("perplexity") & kept.scores.role.eq("hazardous")]
    found, here = [], in_cell(texts, cell)
    for topic in (name for name in texts.topic.unique() if name != "all"):
        before = first_where(texts[texts.method == "base"], topic=topic)
        after = (first_where(here, topic=topic, clearing=name) for name in ("none", kept.primary))
        found.append(dict(zip(("topic", "base", "unlearned", "cleared"), (topic, before, *after), strict=True)))
    return found


def by_rank(kept: Kept) -> dict[int, str]:
    """{rank: clearing} of the main cell."""
    return clearings.by_rank(kept.scores.clearing.unique(), kept.config["clearings"])


def by_strength(kept: Kept) -> dict[float, str]:
    """{strength: clearing} of the main cell."""
    return clearings.by_strength(kept.scores.clearing.unique(), kept.config["clearings"])


def best(kept: Kept, names: dict[float, str]) -> float:
    """The rank or strength of the clearing that brings back most in the main cell."""
    back = {key: score(kept, kept.cell, "recovered_accuracy", name) for key, name in names.items()}
    return max(back, key=lambda key: back[key].value)


def readable(kept: Kept) -> dict[str, list[float]]:
    """{model: shares of the answers that a probe reads off the base before the first block edited for each layer}."""
    method = kept.cells.method.iloc[0]
    layers = layers_of(kept, method)
    first = min(kept.config["methods"][method]["updated"])
    found = {}
    for model in kept.models:
        rows = [read_off(kept, "base", depth=layer + first, model=model) for layer in layers]
        found[model] = [np.nan if row is None else row.value for row in rows]
    return found


def known_and_back(kept: Kept, layer: int) -> tuple[float, float, int]:
    """Rank correlation of what a probe reads before any edit with what comes back, less what points lost explain.

    With its two-sided p and the number of base models whose cell at the layer has no mark; the study has one c.
    """
    method = kept.cells.method.iloc[0]
    back, lost = (
        values(kept, f"{name}_accuracy", marked=False, method=method, layer=layer).set_index("model").value
        for name in ("recovered", "forgotten")
    )
    known, place = readable(kept), layers_of(kept, method).index(layer)
    known = [known[model][place] for model in back.index]
    rho, p = statistics.partial_rank_correlation(np.array(known), back.to_numpy(), lost[back.index].to_numpy())
    return rho, p, len(back)


def mean_of(kept: Kept, method: str, layer: int) -> Row:
    """The mean over base models of what comes back in the one cell of a method and layer."""
    return first_where(kept.tables["models"], method=method, layer=layer)


def apart(kept: Kept) -> tuple[int, int]:
    """How many pairs of base models have intervals of the recovered fraction that do not meet, at the same layer and c.

    Over cells without a mark; the second number is that of all pairs.
    """
    rows = values(kept, "recovered_accuracy", marked=False, method=kept.cells.method.iloc[0])
    pairs = [pair for _, here in rows.groupby(["layer", "c"]) for pair in combinations(here.itertuples(), 2)]
    return sum(one.high < other.low or other.high < one.low for one, other in pairs), len(pairs)


def contrasts(kept: Kept) -> list[str]:
    """`layer 3 less layer 2: 26 points (8 to 44; above 0 in 8 of 9 base models)`, of all base models or of one."""
    rows = kept.layers[kept.layers.model.eq("all") | (len(kept.models) == 1)]
    return [
        f"layer {row.upper} less layer {row.lower}: {hundredths(row.value)} points ({hundredths(row.low)} to "
        f"{hundredths(row.high)}; above 0 in {share_of(row)})"
        for _, row in rows.iterrows()
    ]


def claims(kept: Kept) -> list[dict[str, Any]]:
    """The claims of the plan, with their judgements by model and over all models; those of the plan's own method."""
    found, every = [], kept.hypotheses
    for _, rows in every[every.method.isin(["all", kept.cells.method.iloc[0]])].groupby("hypothesis", sort=False):
        single = rows[rows.model != "all"]
        verdict = rows[rows.model == "all"].verdict if rows.model.eq("all").any() else single.verdict
        found.append(rows.iloc[0].to_dict() | {"verdict": verdict.iloc[0], "by_model": single.to_dict("records")})
    return found


def held(studies: list[Kept]) -> str:
    """`eight of nine`: how many claims of the studies hold over all base models."""
    verdicts = [claim["verdict"] for kept in studies for claim in claims(kept)]
    return f"{number_word(verdicts.count('holds'))} of {number_word(len(verdicts))}"


def means(kept: Kept) -> list[dict[str, Any]]:
    """Of every cell the mean over base models of what comes back, with what was lost and damaged there on average."""
    rows = []
    for _, row in kept.tables["models"].iterrows():
        here = kept.family[kept.family.method.eq(row.method) & kept.family.mark.eq("")]
        here = here[here.layer.eq(row.layer) & here.c.eq(row.c)]
        lost = {name: here.value[here.quantity == name].mean() for name in ("forgotten_accuracy", "damage")}
        rows.append({"row": row, "spread": row.spread, "models": int(row.models)} | lost)
    return rows


def judged(row: dict[str, Any]) -> str:
    """What a claim was judged by in one model: `90 % of 10 cells`, or `37 points against 11`."""
    if row["test"] == "over_models":
        ends = f" ({hundredths(row['low'])} to {hundredths(row['high'])})"
        return f"{hundredths(row['value'])}{ends} over {row['cells']} base models"
    if row["test"] == "layer_over_c":
        return f"{hundredths(row['value'])} points against {hundredths(row['needed'])}"
    return f"{hundredths(row['value'])} % of {row['cells']} cells"
