"""Score one run on the benchmarks under every clearing of the study."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk.clearing import LABEL_TYPES
from overpaint.measures.agreement import measure as agreement
from overpaint.scoring import evaluation

with job(snakemake) as out:
    asked = evaluation.of_job(snakemake.input, snakemake.params)
    rows = pd.DataFrame(evaluation.evaluate_clearings(*asked)).astype(LABEL_TYPES)
    rows.to_parquet(out.answers, index=False)
    rows = pd.DataFrame(agreement.measure(*asked), columns=agreement.COLUMNS).astype(LABEL_TYPES)
    rows.to_parquet(out.agreement, index=False)
