"""Gather what is measured beside the scores into tidy tables."""

import json

from overpaint.jobs.job import job
from overpaint.measures import gathering
from overpaint.tables import core

with job(snakemake) as out:
    params = snakemake.params
    study = core.Study.of(json.loads(params.config), params.runs, params.hazardous, params.nulls)
    core.write(gathering.gather(snakemake.input, study, params.models, params.measured), out)
