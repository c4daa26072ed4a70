"""Normalise the data of one task or group of lm-evaluation-harness to JSONL."""

from pathlib import Path

from overpaint import harness, texts
from overpaint.job import job

with job(snakemake) as out:
    rows = harness.task_rows(snakemake.params.settings, Path(snakemake.input.dataset))
    texts.write_rows(rows, out.rows)
