"""Measure a run at the steps of its training whose weights were kept."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import activations
from overpaint.junk.run import Run
from overpaint.measures.emergence.measure import measure
from overpaint.models.overlay import load_snapshots
from overpaint.scoring import questions
from overpaint.sources.texts import read_prompts

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    run, base = Run.load(given, params.dtype), activations.load(given.base, "fit")
    prompts = {n: read_prompts(path, "fit") for n, path in zip(params.topics.values(), given.prompts, strict=True)}
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), run.tokenizer, params.split)
    looked = (params.topics, params.position, params.primary)
    rows = measure(run, load_snapshots(given.snapshots), base, prompts, asked, *looked)
    pd.DataFrame(rows).to_parquet(out.emergence, index=False)
