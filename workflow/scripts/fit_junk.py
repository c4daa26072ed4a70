"""Fit and describe the junk directions of each hazardous topic."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import activations, diagnosis, estimators
from overpaint.models.tensors import read_overlay

with job(snakemake) as out:
    given, topics, tokens = snakemake.input, snakemake.params.topics, snakemake.params.tokens
    base, run, held_base, held_run = (
        activations.load(path, split) for split in ("fit", "report") for path in (given.base, given.run)
    )
    controls, settings = read_overlay(given.overlay)
    depth, other = settings["layer"] + 1, {"last": "mean", "mean": "last"}[tokens]
    sample, elsewhere = (estimators.Sample.of(base, run, topics, controls, depth, place) for place in (tokens, other))
    held = estimators.Sample.of(held_base, held_run, topics, controls, depth, tokens)
    estimators.fit(sample, base, settings["layer"]).save(out.junk)
    rows = diagnosis.diagnose(sample, held, elsewhere, settings.get("scale", {}))
    pd.DataFrame(rows).to_csv(out.table, index=False)
    pd.DataFrame(diagnosis.depths(base, run, topics, controls)).to_csv(out.depths, index=False)
