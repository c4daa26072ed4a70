"""Collect residual-stream activations of one run over all prompts, under one clearing, beside the base's."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import activations
from overpaint.junk.collection import collect_sets
from overpaint.junk.run import Run

with job(snakemake) as out:
    given, params = snakemake.input, snakemake.params
    run = Run.load(given, params.dtype)
    cleared = run.by_topic(snakemake.wildcards.clearing, params.settings, params.topics.values())
    sets = collect_sets(run, params.topics, given.prompts, cleared)
    fitted = (run.overlay.settings["layer"] + 1,) if given.base else None  # the depth of its junk
    activations.save(sets, out.activations, fitted)
    rows = activations.compare(sets, given.base, params.split, params.topics)
    pd.DataFrame(rows).to_csv(out.table, index=False)
