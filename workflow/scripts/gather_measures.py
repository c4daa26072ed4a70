"""Gather what is measured beside the scores into tidy tables."""

import pandas as pd

from overpaint import measures, tables
from overpaint.job import job

READ = {"coherence": lambda path: tables.read(path, tables.GIVEN["coherence"])}

with job(snakemake) as out:
    params = snakemake.params
    labels = params.runs, params.hazardous, params.clearings, params.primary
    for name, runs in params.measured.items():
        frames = tables.by_model(params.models, runs, snakemake.input[name], READ.get(name, pd.read_parquet))
        parts = [
            getattr(measures, name)(frames[model], tables.Study(params.study, model, *labels))
            for model in params.models
        ]
        tables.write(tables.joined(parts), getattr(out, name), getattr(out, f"{name}_csv"))
