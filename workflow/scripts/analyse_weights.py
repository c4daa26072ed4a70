"""Describe what every run changed in the weights."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import weights
from overpaint.models.load import load_model

with job(snakemake) as out:
    given, params = snakemake.input, snakemake.params
    model = load_model(given.model, params.dtype, device="cpu")
    rows = weights.of_runs(model, params.runs, given.overlays, given.junk)
    pd.DataFrame(rows, columns=weights.COLUMNS).to_csv(out.table, index=False)
