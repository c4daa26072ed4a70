"""Fetch files of a data set of the Hugging Face hub."""

from pathlib import Path

from overpaint.downloads.hub import download_dataset
from overpaint.jobs.job import job

with job(snakemake) as out:
    folder = Path(snakemake.output.files)
    download_dataset(**snakemake.params.settings, target=out.files, work=folder.with_name(f".{folder.name}-download"))
