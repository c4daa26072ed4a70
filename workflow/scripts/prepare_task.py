"""Normalise the data of one task or group of lm-evaluation-harness to JSONL."""

from pathlib import Path

from overpaint.jobs.job import job
from overpaint.sources import harness, texts

with job(snakemake) as out:
    rows = harness.rows("questions", snakemake.params.settings, Path(snakemake.input.dataset))
    texts.write_rows(rows, out.rows)
