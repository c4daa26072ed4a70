"""Teach other facts of the hazardous topics again, and ask."""

import pandas as pd

from overpaint import clearing, models, questions, relearning, texts
from overpaint.job import job
from overpaint.junk import Junk

with job(snakemake) as out:
    params, given = snakemake.params, snakemake.input
    overlay, junk, tokenizer = (
        models.Overlay.load(given.overlay),
        Junk.load(given.junk),
        models.load_tokenizer(given.model),
    )
    asked = questions.read(given.benchmarks, list(params.benchmarks.values()), tokenizer, params.split)
    corpora = dict(zip(params.topics, map(texts.read_texts, given.forget), strict=True))
    unlearned, _ = models.load_overlaid(given.model, overlay, params.dtype)
    starts = dict(zip(("unlearned", "cleared"), params.clearings, strict=True)) | (
        {"control": "none"} if given.control else {}
    )
    rows = []
    for state, name in starts.items():
        model = relearning.control(given.control, tokenizer, params.dtype) if state == "control" else unlearned
        variants = clearing.for_run(name, params.clearings[name], overlay.settings, junk)
        cleared = {topic: clearing.of_topic(variants, topic) for topic in asked}
        seed = overlay.settings["seed"]
        found = relearning.relearn(model, tokenizer, corpora, asked, cleared, params.settings, seed)
        rows += [{"state": state} | row for row in found]
    pd.DataFrame(rows).to_parquet(out.relearning, index=False)
