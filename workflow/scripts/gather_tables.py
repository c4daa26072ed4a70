"""Gather every run into tidy tables with intervals."""

import json
from shutil import copyfile

import pandas as pd

from overpaint import comparisons, scores, tables, verdicts
from overpaint.job import job

params, given = snakemake.params, snakemake.input
chosen, primary = params.config["study"], params.config["study"]["primary"]


SAME = {"uncleared": "activations", "cleared": "activations"}  # inputs that are rows of a table of another name


def types(key):
    return tables.GIVEN[SAME.get(key, key)]


def frames(key, runs, read=None):
    return tables.by_model(params.models, runs, given[key], read or (lambda path: tables.read(path, types(key))))


def lines(path):
    return pd.read_json(path, orient="records", lines=True, dtype=False)


def gathered(model):
    """{table: rows} of one model."""
    study = tables.Study(chosen["name"], model, params.runs, params.hazardous, params.config["clearings"], primary)

    def labelled(key):
        return tables.labelled(read[key][model], study, types(key))

    answers = read["answers"][model]
    scored, junk = scores.scores(answers, study), labelled("junk")
    nulls, mcnemar = comparisons.nulls(scored, study), comparisons.mcnemar(answers, study)
    cells = verdicts.cells(scored, junk, params.plan["marks"])
    shown = [labelled("uncleared").assign(clearing="none"), labelled("cleared").assign(clearing=primary)]
    weights = read["weights"][model]["all"]
    changed = {run: part.drop(columns="run") for run, part in weights.groupby("run", sort=False)}
    return {
        "cells": cells,
        "hypotheses": verdicts.judge(cells, nulls, mcnemar, params.plan),
        "scores": scored,
        "nulls": nulls,
        "mcnemar": mcnemar,
        "activations": tables.with_role(pd.concat(shown, ignore_index=True), params.hazardous),
        "junk": junk,
        "depths": labelled("depths"),
        "weights": tables.labelled(
            changed, study, {name: kind for name, kind in types("weights").items() if name != "run"}
        ),
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
    out.config.write_text(json.dumps(params.config, indent=1) + "\n")
