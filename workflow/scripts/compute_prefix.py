"""Run the blocks below the first trained one over all batches of a training."""

from overpaint import models, prefix, texts
from overpaint.job import job
from overpaint.methods import rmu

with job(snakemake) as out:
    settings, topics = snakemake.params.settings, snakemake.params.topics
    model = models.load_model(snakemake.input.model, snakemake.params.dtype)
    forget = dict(zip(topics, map(texts.read_texts, snakemake.input.forget), strict=True))
    retain = [text for path in snakemake.input.retain for text in texts.read_texts(path)]
    tokenizer, span = models.load_tokenizer(snakemake.input.model), rmu.span_of(model, settings)
    prefix.write(prefix.compute(span, tokenizer, forget, retain, settings, settings["norms"]), out.prefix)
