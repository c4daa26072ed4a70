"""Continue prompts by the model as it is and cleared, show a few and measure how coherent and how right all are."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.measures.coherence import measure

with job(snakemake) as out:
    params = snakemake.params
    rows = measure.of_job(snakemake.input, params)
    read = pd.DataFrame(measure.shown(rows, params.clearings, params.prompts_shown))
    read.to_json(out.completions, orient="records", lines=True, force_ascii=False)
    pd.DataFrame(rows).drop(columns=["part", "prompt", "answer", "completion"]).to_csv(out.coherence, index=False)
