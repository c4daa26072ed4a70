"""Read answers off the residual stream at every depth."""

import pandas as pd

from overpaint import clearing, lens, models, questions, texts
from overpaint.job import job
from overpaint.junk import Junk

with job(snakemake) as out:
    params, overlay = snakemake.params, models.Overlay.load(snakemake.input.overlay)
    model, _ = models.load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = models.load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    entries = list(params.benchmarks.values())
    asked, rows = questions.read(snakemake.input.benchmarks, entries, tokenizer, *texts.SPLITS), []
    for name, settings in params.clearings.items():
        state = ("unlearned" if snakemake.input.junk else "base") if name == "none" else "cleared"
        variants = clearing.for_run(name, settings, overlay.settings, junk)
        cleared = {topic: clearing.of_topic(variants, topic) for topic in asked}
        rows += [{"state": state} | row for row in lens.measure(model, tokenizer, asked, cleared, params.split)]
    pd.DataFrame(rows).to_parquet(out.depth, index=False)
