"""Read answers off the residual stream at every depth."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.depth import measure

with job(snakemake) as out:
    rows = measure.of_job(snakemake.input, snakemake.params)
    pd.DataFrame(rows).to_parquet(out.depth, index=False)
