"""Score by activation patching how much of the answers is missing from what a run's model writes."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.uds import measure

with job(snakemake) as out:
    rows = measure.of_job(snakemake.input, snakemake.params)
    pd.DataFrame(rows).to_parquet(out.uds, index=False)
