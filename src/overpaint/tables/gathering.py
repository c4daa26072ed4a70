"""The tables of a study but those of `measures`, from the files that its jobs wrote."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pandas as pd

from overpaint.tables import comparisons, core, layers, models, scores, verdicts
from overpaint.tables.core import GIVEN, Study

Frames = dict[str, dict[str, pd.DataFrame]]  # by kind of file and run; weights are of all runs together


def gather(
    given: Mapping[str, list[str]], study: Study, names: list[str], completed: list[str], plan: dict
) -> dict[str, pd.DataFrame]:
    """{table: rows} of all base models.

    given: files of every kind, of the runs of one model after the other.    study: of any of the models.
    completed: the runs whose completions are shown.    plan: the study's pre-registration.
    """
    read, parts, back = _read(given, study, names, completed), {}, {}
    for name in names:
        mine, its = {kind: files[name] for kind, files in read.items()}, replace(study, model=name)
        parts[name] = _of_model(mine, its, plan)
        back[name] = layers.fractions(mine["answers"], parts[name]["cells"], its)
    made = {name: core.joined(part[name] for part in parts.values()) for name in parts[names[0]]}
    judged = [verdicts.together(made["hypotheses"]), models.judge(back, study.name, plan)]
    made |= {"hypotheses": core.joined(judged)}
    made |= {"layers": layers.layers(back, study.name), "models": models.models(back, study.name)}
    jobs = core.provenance(given["jobs"], given["before"])
    return made | {"provenance": jobs, "costs": core.costs(jobs)}


def _read(given: Mapping[str, list[str]], study: Study, models: list[str], completed: list[str]) -> dict[str, Frames]:
    """{kind of file: {model: its frames}}."""
    unlearned = [run for run in study.runs if run != "base"]
    lines = partial(pd.read_json, orient="records", lines=True, dtype=False)
    readers = {kind: partial(core.read, types=types) for kind, types in GIVEN.items()}
    kinds = {
        "answers": (study.runs, pd.read_parquet),
        "uncleared": (study.runs, readers["activations"]),
        "cleared": (unlearned, readers["activations"]),
        "completions": (completed, lines),
        "weights": (["all"], readers["weights"]),
    } | {kind: (unlearned, readers[kind]) for kind in ("junk", "depths", "history")}
    return {kind: core.by_model(models, runs, given[kind], read) for kind, (runs, read) in kinds.items()}


def _of_model(read: Frames, study: Study, plan: dict) -> dict[str, pd.DataFrame]:
    """{table: rows} of one base model."""

    def labelled(kind: str, table: str = "") -> pd.DataFrame:
        return core.labelled(read[kind], study, GIVEN[table or kind])

    scored, junk = scores.scores(read["answers"], study), labelled("junk")
    on_fit = {run: rows[rows.clearing == "none"] for run, rows in scores.of_split(read["answers"], "fit").items()}
    fit = scores.scores(on_fit, replace(study, split="fit")) if all(map(len, on_fit.values())) else None
    nulls, mcnemar = comparisons.nulls(scored, study), comparisons.mcnemar(read["answers"], study)
    budgets = study.budget, study.perplexity_budget
    cells = verdicts.cells(scored, junk, plan["marks"], fit, study.families, *budgets)
    clearings = {"uncleared": "none", "cleared": study.primary}
    shown = [labelled(kind, "activations").assign(clearing=name) for kind, name in clearings.items()]
    changed = {run: part.drop(columns="run") for run, part in read["weights"]["all"].groupby("run", sort=False)}
    types = {name: kind for name, kind in GIVEN["weights"].items() if name != "run"}
    return {
        "cells": cells,
        "hypotheses": verdicts.judge(cells, nulls, mcnemar, plan),
        "scores": scored,
        "nulls": nulls,
        "mcnemar": mcnemar,
        "activations": core.with_role(pd.concat(shown, ignore_index=True), study.hazardous),
        "junk": junk,
        "depths": labelled("depths"),
        "weights": core.labelled(changed, study, types),
        "history": labelled("history"),
        "completions": core.with_role(labelled("completions"), study.hazardous),
    }
