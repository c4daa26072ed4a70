"""Run one unlearning method."""

from pathlib import Path

import pandas as pd

from overpaint.jobs.job import job, remove_saved
from overpaint.models.load import load_model, load_tokenizer
from overpaint.sources import texts
from overpaint.unlearning import methods

resume = Path(snakemake.output.overlay).with_name("resume.safetensors")
with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    model = load_model(given.model, params.dtype)
    task = methods.Task(
        params.settings,
        load_tokenizer(given.model),
        dict(zip(params.topics if given.forget else [], map(texts.read_texts, given.forget), strict=True)),
        [text for path in given.retain for text in texts.read_texts(path)],
        prefix=Path(given.prefix) if given.prefix else None,
        released=Path(given.released) if given.released else None,
        resume=resume,
    )
    overlay, history = methods.get(params.settings["kind"]).unlearn(model, task)
    overlay.save(out.overlay)
    overlay.save_snapshots(out.snapshots)
    pd.DataFrame(history, columns=["topic", "step", "quantity", "value"]).to_csv(out.history, index=False)
remove_saved(resume)  # when all is in place
