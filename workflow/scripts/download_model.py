"""Fetch a model of the Hugging Face hub."""

from pathlib import Path

from overpaint.downloads.hub import download_model
from overpaint.jobs.job import job

with job(snakemake) as out:
    params, work = snakemake.params, Path(snakemake.output.model).with_name(".checkpoint-download")
    download_model(params.repo, params.revision, target=out.model, work=work)
