"""Run one unlearning method."""

import pandas as pd

from overpaint import methods, models, texts
from overpaint.job import job

with job(snakemake) as out:
    settings, topics = snakemake.params.settings, snakemake.params.topics
    model = models.load_model(snakemake.input.model, snakemake.params.dtype)
    forget = dict(zip(topics, map(texts.read_texts, snakemake.input.forget), strict=True))
    retain = [text for path in snakemake.input.retain for text in texts.read_texts(path)]
    method = methods.get(settings["kind"])
    overlay, history = method.unlearn(model, models.load_tokenizer(snakemake.input.model), forget, retain, settings)
    overlay.save(out.overlay)
    pd.DataFrame(history, columns=["topic", "step", "quantity", "value"]).to_csv(out.history, index=False)
