"""Normalise one entry of corpora, prompts or benchmarks to JSONL."""

from pathlib import Path

from overpaint.jobs.job import job
from overpaint.sources import texts

with job(snakemake) as out:
    settings, source = snakemake.params.settings, snakemake.input.source
    rows = texts.rows_of(settings, Path(source))
    if settings["kind"] == "prompts":
        texts.check_splits(rows, texts.PROMPTS, source)
    texts.write_rows(rows, out.rows)
