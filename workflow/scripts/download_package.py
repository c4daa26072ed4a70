"""Fetch one file of a registry package."""

from overpaint.downloads.packages import download_package
from overpaint.jobs.job import job

with job(snakemake) as out:
    download_package(**snakemake.params.settings, target=out.file)
