"""Run one unlearning method."""

from pathlib import Path

import pandas as pd

from overpaint.jobs.job import job, remove_saved
from overpaint.models.load import load_model, load_tokenizer
from overpaint.unlearning import methods

resume = Path(snakemake.output.overlay).with_name("resume.safetensors")
with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    task = methods.Task.of(params.settings, load_tokenizer(given.model), params.topics, given, resume)
    overlay, history = methods.get(params.settings["kind"]).unlearn(load_model(given.model, params.dtype), task)
    overlay.save(out.overlay)
    overlay.save_snapshots(out.snapshots)
    pd.DataFrame(history, columns=methods.HISTORY).to_csv(out.history, index=False)
remove_saved(resume)  # when all is in place
