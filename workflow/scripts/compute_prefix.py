"""Run the blocks below the first trained one over all batches of a training."""

from overpaint.jobs.job import job
from overpaint.models.load import load_model, load_tokenizer
from overpaint.sources import texts
from overpaint.unlearning import prefix
from overpaint.unlearning.span import span_of

with job(snakemake) as out:
    settings, topics = snakemake.params.settings, snakemake.params.topics
    model = load_model(snakemake.input.model, snakemake.params.dtype)
    forget = dict(zip(topics, map(texts.read_texts, snakemake.input.forget), strict=True))
    retain = [text for path in snakemake.input.retain for text in texts.read_texts(path)]
    tokenizer, span = load_tokenizer(snakemake.input.model), span_of(model, settings)
    prefix.write(prefix.compute(span, tokenizer, forget, retain, settings, settings["norms"]), out.prefix)
