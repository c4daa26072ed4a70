"""Teach other facts of the hazardous topics again, and ask."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.relearning import measure

with job(snakemake) as out:
    rows = measure.of_job(snakemake.input, snakemake.params)
    pd.DataFrame(rows).to_parquet(out.relearning, index=False)
