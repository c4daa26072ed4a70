"""Normalise one entry of corpora, prompts or benchmarks to JSONL."""

from pathlib import Path

from overpaint import sources
from overpaint.jobs.job import job
from overpaint.sources import texts

with job(snakemake) as out:
    settings, source = snakemake.params.settings, snakemake.input.source
    rows = sources.rows(settings, Path(source))
    texts.check(rows, settings["kind"], snakemake.params.batches, source)
    texts.write_rows(rows, out.rows)
