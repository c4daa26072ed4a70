"""Invent the facts of a fictional world."""

from overpaint.jobs.job import job
from overpaint.sources import world

with job(snakemake) as out:
    facts = world.generate(**snakemake.params.settings)
    world.save(facts, out.world)
    out.taught.write_text(world.taught(facts), encoding="utf-8")
