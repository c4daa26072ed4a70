"""Ask what a setting attains and costs, on the split `fit` alone."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk.clearing import LABEL_TYPES
from overpaint.junk.run import Run
from overpaint.tuning import measure

with job(snakemake) as out:
    given, params = snakemake.input, snakemake.params
    run = Run.load(given, params.dtype)
    rows = pd.DataFrame(measure.answers(run, given, params)).astype(LABEL_TYPES)
    rows.to_parquet(out.answers, index=False)
    pd.DataFrame(measure.states(run, given, params), columns=measure.STATES).to_csv(out.states, index=False)
