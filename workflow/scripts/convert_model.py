"""Turn a GGUF file into a Hugging Face folder."""

from pathlib import Path

from overpaint.downloads.gguf import convert_gguf
from overpaint.jobs.job import job

with job(snakemake) as out:
    convert_gguf(Path(snakemake.input.file), out.model)
