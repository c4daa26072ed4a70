"""Write an unlearned or cleared model as an ordinary Hugging Face folder."""

from overpaint.jobs.job import job
from overpaint.junk.export import export
from overpaint.junk.run import Run

with job(snakemake) as out:
    run = Run.load(snakemake.input, snakemake.params.dtype)
    variants = run.clearings(snakemake.wildcards.clearing, snakemake.params.settings)
    export(run.model, run.tokenizer, variants, out.model)
