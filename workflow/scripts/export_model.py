"""Write an unlearned or cleared model as an ordinary Hugging Face folder."""

from overpaint import clearing, export, models
from overpaint.job import job
from overpaint.junk import Junk

with job(snakemake) as out:
    params, overlay = snakemake.params, models.Overlay.load(snakemake.input.overlay)
    model, _ = models.load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = models.load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    variants = clearing.for_run(snakemake.wildcards.clearing, params.settings, overlay.settings, junk)
    export.export(model, tokenizer, variants, out.model)
