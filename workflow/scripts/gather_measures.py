"""Gather what is measured beside the scores into tidy tables."""

import json

from overpaint import measures, tables
from overpaint.job import job

with job(snakemake) as out:
    params = snakemake.params
    study = tables.Study.of(json.loads(params.config), params.runs, params.hazardous)
    for name, table in measures.gather(snakemake.input, study, params.models, params.measured).items():
        tables.write(table, getattr(out, name), getattr(out, f"{name}_csv"))
