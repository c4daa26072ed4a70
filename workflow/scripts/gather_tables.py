"""Gather every run into tidy tables with intervals."""

import json
from shutil import copyfile

from overpaint.jobs.job import job
from overpaint.tables import core, gathering

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    config, preregistration = json.loads(params.config), json.loads(params.preregistration)
    study = core.Study.of(config, params.runs, params.hazardous, params.nulls, params.families)
    core.write(gathering.gather(given, study, params.models, params.completed, preregistration), out)
    copyfile(given.preregistration, out.preregistration)
    out.config.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
