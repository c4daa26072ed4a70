"""Teach other facts, hazardous and benign, and ask."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.relearning import measure

with job(snakemake) as out:
    rows = measure.of_job(snakemake.input, snakemake.params)
    pd.DataFrame(rows).to_parquet(out.relearning, index=False)
