"""Measure a run at the steps of its training whose weights were kept."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import activations
from overpaint.measures.emergence import measure as emergence
from overpaint.models.load import load_model, load_tokenizer
from overpaint.models.overlay import Overlay, load_snapshots
from overpaint.scoring import questions
from overpaint.sources import texts

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    model, tokenizer = load_model(given.model, params.dtype), load_tokenizer(given.model)
    rows = emergence.trace(
        model,
        tokenizer,
        Overlay.load(given.overlay),
        load_snapshots(given.snapshots),
        activations.load(given.base, "fit"),
        {n: texts.read_prompts(p, "fit") for n, p in zip(params.topics.values(), given.prompts, strict=True)},
        questions.read(given.benchmarks, list(params.benchmarks.values()), tokenizer, params.split),
        params.topics,
        params.primary,
    )
    pd.DataFrame(rows).to_parquet(out.emergence, index=False)
