"""Gather what was tried, and write down which setting of each method is chosen."""

from overpaint.jobs.job import job
from overpaint.tables import core
from overpaint.tuning import table

with job(snakemake) as out:
    params = snakemake.params
    found = table.gather(snakemake.input, params)
    core.write({"tuning": found}, out)
    table.save(found, params, out.tuned, shown_as=snakemake.output.tuned)
