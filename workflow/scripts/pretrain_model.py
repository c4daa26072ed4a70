"""Train the base model of a fictional world."""

from pathlib import Path

from overpaint.jobs.job import job
from overpaint.models import pretrain
from overpaint.sources import world

with job(snakemake) as out:
    keys = ("width", "layers", "heads", "steps", "batch", "length", "lr", "seed", "without", "without_mlp")
    settings = {key: snakemake.params.settings[key] for key in keys}
    model, tokenizer = pretrain.pretrain(world.load(Path(snakemake.input.world)), **settings)
    pretrain.save_checkpoint(model, tokenizer, out.model)
