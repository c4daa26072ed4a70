"""Invent the facts of a fictional world."""

from overpaint import world
from overpaint.job import job

with job(snakemake) as out:
    world.save(world.generate(**snakemake.params.settings), out.world)
