"""Score one run on the benchmarks under every clearing of the study."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk.clearing import LABEL_TYPES
from overpaint.junk.run import Run
from overpaint.measures.agreement import measure as agreement
from overpaint.scoring import evaluation

with job(snakemake) as out:
    given, params = snakemake.input, snakemake.params
    run, benchmarks = Run.load(given, params.dtype), evaluation.Benchmark.every(params.benchmarks, given.benchmarks)
    plan = evaluation.planned(run, params.evaluation_plan, params.clearings, benchmarks)
    rows = evaluation.evaluate_clearings(run, plan, params.split)
    pd.DataFrame(rows).astype(LABEL_TYPES).to_parquet(out.answers, index=False)
    rows = pd.DataFrame(agreement.measure(run, plan, params.split), columns=agreement.COLUMNS)
    rows.astype(LABEL_TYPES).to_parquet(out.agreement, index=False)
