"""Fit and describe the junk directions of each hazardous topic."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import fitting

with job(snakemake) as out:
    given, params = snakemake.input, snakemake.params
    fitted = fitting.fit(given.base, given.run, given.overlay, params.topics, params.position)
    fitted.junk.save(out.junk)
    pd.DataFrame(fitted.described).to_csv(out.table, index=False)
    pd.DataFrame(fitted.depths).to_csv(out.depths, index=False)
