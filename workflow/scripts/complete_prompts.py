"""Continue prompts by the model as it is and cleared, show a few and measure how coherent all are."""

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import clearing
from overpaint.junk.directions import Junk
from overpaint.measures.coherence import measure as completions
from overpaint.models.load import load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay
from overpaint.sources import texts

with job(snakemake) as out:
    params, overlay = snakemake.params, Overlay.load(snakemake.input.overlay)
    model, base_tensors = load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    shown, measured = [], []
    for name, settings in (params.clearings | params.nulls).items():
        variants = clearing.for_run(name, settings, overlay.settings, junk)
        for path, topic in zip(snakemake.input.prompts, params.topics.values(), strict=True):
            prompts = texts.spread(texts.prompts_of(path, params.split), params.prompts_measured)
            cleared = clearing.of_topic(variants, topic)
            rows = completions.describe(model, tokenizer, base_tensors, prompts, cleared)
            measured += [{"topic": topic, "clearing": name, "draw": cleared.draw} | row for row in rows]
            few = texts.spread(rows, params.prompts_shown) if name in params.clearings else []
            shown += [
                {"topic": topic, "clearing": name, "prompt": r["prompt"], "completion": r["completion"]} for r in few
            ]
    pd.DataFrame(shown).to_json(out.completions, orient="records", lines=True, force_ascii=False)
    pd.DataFrame(measured).drop(columns=["prompt", "completion"]).to_csv(out.coherence, index=False)
