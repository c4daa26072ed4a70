"""Ask while weights or questions are perturbed."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.perturbations import measure

with job(snakemake) as out:
    rows = measure.of_job(snakemake.input, snakemake.params)
    pd.DataFrame(rows).to_parquet(out.perturbations, index=False)
