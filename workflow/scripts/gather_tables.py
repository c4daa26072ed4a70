"""Gather every run into tidy tables with intervals."""

import json
from shutil import copyfile

import pandas as pd

from overpaint import comparisons, tables, verdicts
from overpaint.job import job

params, given = snakemake.params, snakemake.input
study, primary = params.config["study"]["name"], params.config["study"]["primary"]
DEPTHS = {"depth": "Int64", "other_depth": "Int64"}


def frames(key, runs, read=pd.read_csv):
    return tables.by_model(params.models, runs, given[key], read)


def lines(path):
    return pd.read_json(path, orient="records", lines=True, dtype=False)


def gathered(model):
    """{table: rows} of one model."""

    def labelled(name):
        return tables.labelled(read[name][model], params.runs, study, model)

    answers, rest = read["answers"][model], (params.runs, study, model, params.hazardous)
    scores, junk = tables.scores(answers, *rest), labelled("junk")
    nulls, mcnemar = comparisons.nulls(scores), comparisons.mcnemar(answers, *rest, primary)
    cells = verdicts.cells(scores, junk, params.plan["marks"], primary)
    shown = [labelled("uncleared").assign(clearing="none"), labelled("cleared").assign(clearing=primary)]
    weights = read["weights"][model]["all"].groupby("run", sort=False)
    changed = {run: part.drop(columns="run") for run, part in weights}
    return {
        "cells": cells,
        "hypotheses": verdicts.judge(cells, nulls, mcnemar, params.plan, primary),
        "scores": scores,
        "nulls": nulls,
        "mcnemar": mcnemar,
        "activations": tables.with_role(pd.concat(shown, ignore_index=True), params.hazardous),
        "junk": junk,
        "depths": labelled("depths").astype(DEPTHS),
        "weights": tables.labelled(changed, params.runs, study, model),
        "history": labelled("history"),
        "completions": tables.with_role(labelled("completions"), params.hazardous),
    }


with job(snakemake) as out:
    read = {
        "answers": frames("answers", params.runs, pd.read_parquet),
        "uncleared": frames("uncleared", params.runs),
        "completions": frames("completions", params.completed, lines),
        "weights": frames("weights", ["all"]),
    } | {key: frames(key, params.unlearned) for key in ("cleared", "junk", "depths", "history")}
    parts = [gathered(model) for model in params.models]
    made = {name: tables.joined(part[name] for part in parts) for name in parts[0]}
    made["hypotheses"] = verdicts.together(made["hypotheses"])
    for name, table in (made | {"provenance": tables.provenance(given.jobs)}).items():
        tables.write(table, getattr(out, name), getattr(out, f"{name}_csv"))
    copyfile(given.plan, out.plan)
    out.config.write_text(json.dumps(params.config, indent=1) + "\n", encoding="utf-8")
