"""Read answers off the residual stream at every depth."""

import pandas as pd

from overpaint import clearing, lens, models, questions, texts
from overpaint.job import job
from overpaint.junk import Junk

with job(snakemake) as out:
    params, given, overlay = snakemake.params, snakemake.input, models.Overlay.load(snakemake.input.overlay)
    model, _ = models.load_overlaid(given.model, overlay, params.dtype)
    tokenizer, junk = models.load_tokenizer(given.model), Junk.load(given.junk)
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), tokenizer, *texts.SPLITS)
    none, *primary = params.clearings
    starts, rows = {"unlearned" if given.junk else "base": (model, none)}, []
    if primary:
        starts["cleared"] = (model, *primary)
    if given.control:
        starts["control"] = (models.load_control(given.control, tokenizer, params.dtype), none)
    for state, (start, name) in starts.items():
        variants = clearing.for_run(name, params.clearings[name], overlay.settings, junk)
        cleared = {topic: clearing.of_topic(variants, topic) for topic in asked}
        rows += [{"state": state} | row for row in lens.measure(start, tokenizer, asked, cleared, params.split)]
    pd.DataFrame(rows).to_parquet(out.depth, index=False)
