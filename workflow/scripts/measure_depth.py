"""Read answers off the residual stream at every depth."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import clearing
from overpaint.junk.directions import Junk
from overpaint.measures.depth import measure as lens
from overpaint.models.load import load_control, load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay
from overpaint.scoring import questions
from overpaint.sources import texts

with job(snakemake) as out:
    params, given, overlay = snakemake.params, snakemake.input, Overlay.load(snakemake.input.overlay)
    model, _ = load_overlaid(given.model, overlay, params.dtype)
    tokenizer, junk = load_tokenizer(given.model), Junk.load(given.junk)
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), tokenizer, *texts.SPLITS)
    none, *primary = params.clearings
    starts, rows = {"unlearned" if given.junk else "base": (model, none)}, []
    if primary:
        starts["cleared"] = (model, *primary)
    if given.control:
        starts["control"] = (load_control(given.control, tokenizer, params.dtype), none)
    for state, (start, name) in starts.items():
        variants = clearing.for_run(name, params.clearings[name], overlay.settings, junk)
        cleared = {topic: clearing.of_topic(variants, topic) for topic in asked}
        rows += [{"state": state} | row for row in lens.measure(start, tokenizer, asked, cleared, params.split)]
    pd.DataFrame(rows).to_parquet(out.depth, index=False)
