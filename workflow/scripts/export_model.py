"""Write an unlearned or cleared model as an ordinary Hugging Face folder."""

from overpaint.jobs.job import job
from overpaint.junk import clearing, export
from overpaint.junk.directions import Junk
from overpaint.models.load import load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay

with job(snakemake) as out:
    params, overlay = snakemake.params, Overlay.load(snakemake.input.overlay)
    model, _ = load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    variants = clearing.for_run(snakemake.wildcards.clearing, params.settings, overlay.settings, junk)
    export.export(model, tokenizer, variants, out.model)
