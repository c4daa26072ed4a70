"""Normalise one entry of the catalogue to JSONL."""

from pathlib import Path

from overpaint import texts
from overpaint.job import job

with job(snakemake) as out:
    rows = texts.prompt_rows(snakemake.params.settings, Path(snakemake.input.source))
    texts.check_splits(rows, texts.PROMPTS, snakemake.input.source)
    texts.write_rows(rows, out.rows)
