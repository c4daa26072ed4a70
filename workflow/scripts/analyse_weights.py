"""Describe what every run changed in the weights."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import weights
from overpaint.junk.directions import Junk
from overpaint.models.load import load_model
from overpaint.models.overlay import Overlay

with job(snakemake) as out:
    given, parts = snakemake.input, []
    model = load_model(given.model, snakemake.params.dtype, device="cpu")
    base, axes = dict(model.named_parameters()), weights.stream_axes(model)
    for run, path, junk in zip(snakemake.params.runs, given.overlays, given.junk, strict=True):
        overlay = Overlay.load(path)
        directions = {"r": Junk.load(junk).topics, "u": overlay.controls}
        rows = weights.analyse(base, overlay.tensors, axes, directions)
        parts.append(pd.DataFrame(rows).assign(run=run))
    pd.concat(parts).to_csv(out.table, index=False)
