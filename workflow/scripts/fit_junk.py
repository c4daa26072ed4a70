"""Fit and describe the junk direction of each hazardous topic."""

import pandas as pd

from overpaint import activations, estimators
from overpaint.job import job
from overpaint.tensors import read_overlay

with job(snakemake) as out:
    base, run = (activations.load(path, "fit") for path in (snakemake.input.base, snakemake.input.run))
    controls, settings = read_overlay(snakemake.input.overlay)
    topics, tokens = snakemake.params.topics, snakemake.params.tokens
    junk = estimators.fit(base, run, topics, settings["layer"], tokens)
    junk.save(out.junk)
    rows = estimators.diagnose(base, run, topics, junk, controls, settings.get("scale", {}), tokens)
    pd.DataFrame(rows).to_csv(out.table, index=False)
