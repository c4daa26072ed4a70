"""Gather what is measured beside the scores into tidy tables."""

from pathlib import Path

import pandas as pd

from overpaint import measures, tables
from overpaint.job import job

with job(snakemake) as out:
    params = snakemake.params
    study = measures.Study(params.study, params.model, params.runs, params.hazardous)
    for name, runs in params.measured.items():
        read = [pd.read_csv if Path(path).suffix == ".csv" else pd.read_parquet for path in snakemake.input[name]]
        files = zip(runs, read, snakemake.input[name], strict=True)
        table = getattr(measures, name)({run: load(path) for run, load, path in files}, study)
        tables.write(table, getattr(out, name), getattr(out, f"{name}_csv"))
