"""Fetch one file of a registry package."""

from overpaint.job import job
from overpaint.packages import download_package

with job(snakemake) as out:
    download_package(**snakemake.params.settings, target=out.file)
