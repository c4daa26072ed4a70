"""Teach other facts of the hazardous topics again, and ask."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk.run import Run
from overpaint.measures.relearning.measure import measure
from overpaint.scoring import questions
from overpaint.sources.texts import read_texts

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    run, rows = Run.load(given, params.dtype), []
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, params.split)
    corpora = dict(zip(params.topics, map(read_texts, given.forget), strict=True))
    for state, start, cleared in run.starts(params.clearings, asked, given.naive):
        rows += [{"state": state} | row for row in measure(start, corpora, asked, cleared, params.settings)]
    pd.DataFrame(rows).to_parquet(out.relearning, index=False)
