"""Collect residual-stream activations of one run over all prompts, under one clearing, beside the base's."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import activations
from overpaint.junk.collection import collect_sets
from overpaint.junk.run import Run

with job(snakemake) as out:
    params, given, clearing = snakemake.params, snakemake.input, snakemake.wildcards.clearing
    run = Run.load(given, params.dtype)
    sets = collect_sets(run, params.topics, given.prompts, {clearing: params.settings})
    activations.save(sets, out.activations, run.fitted_depths)
    pd.DataFrame(activations.compare(sets, given.base, params.split, params.topics)).to_csv(out.table, index=False)
