"""Measure a run at the steps of its training whose weights were kept."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.emergence import measure

with job(snakemake) as out:
    rows = measure.of_job(snakemake.input, snakemake.params)
    pd.DataFrame(rows).to_parquet(out.emergence, index=False)
