"""Read answers off the residual stream at every depth."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk.run import Run
from overpaint.measures.depth.measure import measure
from overpaint.scoring import questions
from overpaint.sources.texts import SPLITS

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    run, rows = Run.load(given, params.dtype), []
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, *SPLITS)
    for state, start, cleared in run.starts(params.clearings, asked, given.naive):
        rows += [{"state": state} | row for row in measure(start.model, asked, cleared, params.split)]
    pd.DataFrame(rows).to_parquet(out.depth, index=False)
