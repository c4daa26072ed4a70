"""Continue a few prompts by the model as it is and cleared."""

import pandas as pd

from overpaint import clearing, completions, models, texts
from overpaint.job import job
from overpaint.junk import Junk

with job(snakemake) as out:
    params, overlay = snakemake.params, models.Overlay.load(snakemake.input.overlay)
    model, _ = models.load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = models.load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    rows = []
    for name, settings in params.clearings.items():
        variants = clearing.for_run(name, settings, overlay.settings, junk)
        for path, topic in zip(snakemake.input.prompts, params.topics.values(), strict=True):
            prompts = texts.spread(texts.read_prompts(path, params.split), params.prompts_shown)
            written = completions.complete(model, tokenizer, prompts, clearing.of_topic(variants, topic))
            pairs = zip(prompts, written, strict=True)
            rows += [{"topic": topic, "clearing": name, "prompt": p, "completion": w} for p, w in pairs]
    pd.DataFrame(rows).to_json(out.completions, orient="records", lines=True, force_ascii=False)
