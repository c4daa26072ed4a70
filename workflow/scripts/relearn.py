"""Teach other facts of the hazardous topics again, and ask."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import clearing
from overpaint.junk.directions import Junk
from overpaint.measures.relearning import measure as relearning
from overpaint.models.load import load_control, load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay
from overpaint.scoring import questions
from overpaint.sources import texts

with job(snakemake) as out:
    params, given, overlay = snakemake.params, snakemake.input, Overlay.load(snakemake.input.overlay)
    model, _ = load_overlaid(given.model, overlay, params.dtype)
    tokenizer, junk = load_tokenizer(given.model), Junk.load(given.junk)
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), tokenizer, params.split)
    corpora = dict(zip(params.topics, map(texts.read_texts, given.forget), strict=True))
    none, primary = params.clearings
    starts, rows = {"unlearned": (model, none), "cleared": (model, primary)}, []
    if given.control:
        starts["control"] = (load_control(given.control, tokenizer, params.dtype), none)
    for state, (start, name) in starts.items():
        variants = clearing.for_run(name, params.clearings[name], overlay.settings, junk)
        cleared, seed = {topic: clearing.of_topic(variants, topic) for topic in asked}, overlay.settings["seed"]
        found = relearning.relearn(start, tokenizer, corpora, asked, cleared, params.settings, seed)
        rows += [{"state": state} | row for row in found]
    pd.DataFrame(rows).to_parquet(out.relearning, index=False)
