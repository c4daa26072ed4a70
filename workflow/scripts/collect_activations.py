"""Collect residual-stream activations of one run over all prompts, under one clearing, beside the base's."""

from pathlib import Path

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import activations, clearing, collection
from overpaint.junk.directions import Junk
from overpaint.models import hooks
from overpaint.models.load import load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay
from overpaint.sources import texts

with job(snakemake) as out:
    params, overlay = snakemake.params, Overlay.load(snakemake.input.overlay)
    model, _ = load_overlaid(snakemake.input.model, overlay, params.dtype)
    hooks.check_sites(model)
    tokenizer, junk = load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    variants = clearing.for_run(snakemake.wildcards.clearing, params.settings, overlay.settings, junk)
    sets = {}
    for path, topic in zip(snakemake.input.prompts, params.topics.values(), strict=True):
        with clearing.clear(model, clearing.of_topic(variants, topic)):
            for split in texts.SPLITS:
                prompts = texts.read_prompts(path, split)
                sets[split, Path(path).stem] = collection.collect(model, tokenizer, prompts)
    unlearned = (overlay.settings["layer"] + 1,) if snakemake.input.base else None  # where its junk is fitted
    activations.save(sets, out.activations, unlearned)

    shown = {name: found for (split, name), found in sets.items() if split == params.split}
    base = activations.load(snakemake.input.base, params.split) if snakemake.input.base else shown
    labels = {name: {"topic": params.topics[name], "prompts": name} for name in shown}
    rows = [labels[name] | row for name in shown for row in activations.describe(shown[name], base[name])]
    pd.DataFrame(rows).to_csv(out.table, index=False)
