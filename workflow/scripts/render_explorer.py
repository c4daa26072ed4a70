"""Put single questions and their answers on a page that filters and sorts them."""

import json

from overpaint.jobs.job import job
from overpaint.report import explorer, view
from overpaint.tables.core import Study

with job(snakemake) as out:
    params, config = snakemake.params, json.loads(snakemake.params.config)
    study = Study.of(config, params.runs, params.hazardous, params.nulls)
    shown = explorer.Asked(study, params.models, params.texts, params.prompts, view.fixed_cell(config))
    explorer.render(snakemake.input, shown, out.page)
