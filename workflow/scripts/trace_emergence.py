"""Measure a run at the steps of its training whose weights were kept."""

import pandas as pd

from overpaint import activations, emergence, models, questions, texts
from overpaint.job import job

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    model, tokenizer = models.load_model(given.model, params.dtype), models.load_tokenizer(given.model)
    rows = emergence.trace(
        model,
        tokenizer,
        models.Overlay.load(given.overlay),
        models.load_snapshots(given.snapshots),
        activations.load(given.base, "fit"),
        {n: texts.read_prompts(p, "fit") for n, p in zip(params.topics.values(), given.prompts, strict=True)},
        questions.read(given.benchmarks, list(params.benchmarks.values()), tokenizer, params.split),
        params.topics,
        params.primary,
    )
    pd.DataFrame(rows).to_parquet(out.emergence, index=False)
