"""Gather what is measured beside the scores into tidy tables."""

from pathlib import Path

import pandas as pd

from overpaint import measures, tables
from overpaint.job import job


def read(path):
    return pd.read_csv(path) if Path(path).suffix == ".csv" else pd.read_parquet(path)


with job(snakemake) as out:
    params = snakemake.params
    for name, runs in params.measured.items():
        frames = tables.by_model(params.models, runs, snakemake.input[name], read)
        parts = [
            getattr(measures, name)(frames[model], measures.Study(params.study, model, params.runs, params.hazardous))
            for model in params.models
        ]
        tables.write(tables.joined(parts), getattr(out, name), getattr(out, f"{name}_csv"))
