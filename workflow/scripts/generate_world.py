"""Invent the facts of a fictional world."""

from overpaint.jobs.job import job
from overpaint.sources import world

with job(snakemake) as out:
    world.save(world.generate(**snakemake.params.settings), out.world)
