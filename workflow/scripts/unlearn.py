"""Run one unlearning method."""

import pandas as pd

from overpaint.jobs.job import job, resumable
from overpaint.models.load import load_model, load_tokenizer
from overpaint.unlearning import methods

with resumable(snakemake.output.overlay) as resume, job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    task = methods.Task.of(params.settings, load_tokenizer(given.model), params.topics, given, resume)
    overlay, history = methods.get(params.settings["kind"]).unlearn(load_model(given.model, params.dtype), task)
    overlay.save(out.overlay, out.snapshots)
    pd.DataFrame(history, columns=methods.HISTORY).to_csv(out.history, index=False)
