"""Continue prompts by the model as it is and cleared, show a few and measure how coherent all are."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk.run import Run
from overpaint.measures.coherence.measure import measure, shown
from overpaint.sources import texts

with job(snakemake) as out:
    given, params = snakemake.input, snakemake.params
    prompts = [texts.spread(texts.prompts_of(path, params.split), params.prompts_measured) for path in given.prompts]
    topics = list(zip(params.topics.values(), prompts, strict=True))
    rows = measure(Run.load(given, params.dtype), topics, params.clearings | params.nulls)
    read = pd.DataFrame(shown(rows, params.clearings, params.prompts_shown))
    read.to_json(out.completions, orient="records", lines=True, force_ascii=False)
    pd.DataFrame(rows).drop(columns=["prompt", "completion"]).to_csv(out.coherence, index=False)
