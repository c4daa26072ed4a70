"""Gather every run into tidy tables with intervals."""

import json

import pandas as pd

from overpaint import comparisons, tables
from overpaint.job import job

with job(snakemake) as out:
    params, runs = snakemake.params, snakemake.params.runs
    study, model, primary = (params.config["study"][key] for key in ("name", "model", "primary"))

    def frames(key, names, read):
        return {name: read(path) for name, path in zip(names, snakemake.input[key], strict=True)}

    def lines(path):
        return pd.read_json(path, orient="records", lines=True, dtype=False)

    shown = {
        clearing: tables.labelled(frames(key, names, pd.read_csv), runs, study, model).assign(clearing=clearing)
        for clearing, key, names in (("none", "uncleared", runs), (primary, "cleared", params.unlearned))
    }
    answers, weights = frames("answers", runs, pd.read_parquet), pd.read_csv(snakemake.input.weights)
    of_weights = {run: part.drop(columns="run") for run, part in weights.groupby("run", sort=False)}
    scores = tables.scores(answers, runs, study, model, params.hazardous)
    made = {
        "scores": scores,
        "nulls": comparisons.nulls(scores),
        "mcnemar": comparisons.mcnemar(answers, runs, study, model, params.hazardous, primary),
        "activations": tables.with_role(pd.concat(shown.values(), ignore_index=True), params.hazardous),
        "junk": tables.labelled(frames("junk", params.unlearned, pd.read_csv), runs, study, model),
        "depths": tables.labelled(frames("depths", params.unlearned, pd.read_csv), runs, study, model).astype(
            {"depth": "Int64", "other_depth": "Int64"}
        ),
        "weights": tables.labelled(of_weights, runs, study, model),
        "history": tables.labelled(frames("history", params.unlearned, pd.read_csv), runs, study, model),
        "completions": tables.with_role(
            tables.labelled(frames("completions", params.completed, lines), runs, study, model), params.hazardous
        ),
        "provenance": tables.provenance(snakemake.input.jobs),
    }
    for name, table in made.items():
        tables.write(table, getattr(out, name), getattr(out, f"{name}_csv"))
    out.config.write_text(json.dumps(params.config, indent=1) + "\n")
