"""Normalise one entry of corpora, prompts or benchmarks to JSONL."""

from pathlib import Path

from overpaint import texts
from overpaint.job import job

with job(snakemake) as out:
    texts.write_rows(texts.rows_of(snakemake.params.settings, Path(snakemake.input.source)), out.rows)
