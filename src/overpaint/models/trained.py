"""Base models that were trained before: those in bases/, and whether they are what a configuration says."""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree
from typing import Any

from overpaint.errors import UserError, program
from overpaint.jobs.job import part_folder
from overpaint.jobs.provenance import MARK, RECORD, read_record, sha256, write_record
from overpaint.sources import world

FOLDER = "bases"
NO_SETTINGS = {"source", "path", "world", "dtype"}  # of a model: what its training does not ask for


def place(name: str) -> str:
    """The folder of a model that was trained before, in the checkout; the job.json of its training is beside it."""
    return f"{FOLDER}/{name}/checkpoint"


def check(name: str, model: dict[str, Any], facts: dict[str, Any], checkout: Path) -> None:
    """Refuse an entry of `models` of the source `trained` whose folder is missing, damaged, or of another training.

    facts: the settings of its world.
    """
    folder, anew = checkout / model["path"], "or train it anew with `source: fictional`"
    job = folder.with_name(f"{folder.name}{RECORD}")
    if not (folder.is_dir() and job.is_file()):
        raise UserError(f"models.{name} is of the source 'trained', and {folder} is not there: put it back, {anew}.")
    record = read_record(job)
    if record["rule"] != "pretrain_model":
        raise UserError(f"{job} is the record of {record['rule']}, not of a training: write `source: folder` instead.")
    if sha256(folder) not in record["outputs"].values():
        raise UserError(f"{folder} is not what its training wrote (cut short, damaged or replaced): put it back.")
    before = {"without_mlp": []} | record["settings"]["settings"]  # the first were trained before it could be set
    for key in sorted((before.keys() & model.keys()) - NO_SETTINGS):
        if model[key] != before[key]:
            raise UserError(
                f"models.{name}.{key} is {model[key]!r}, and the model in {folder.parent} was trained with "
                f"{before[key]!r}: put that back, {anew}."
            )
    if _taught(json.dumps(facts)) not in record["inputs"].values():
        raise UserError(
            f"worlds.{model['world']} is not the world that the model in {folder.parent} (models.{name}) was trained "
            f"on: put its settings back, {anew}."
        )


@cache
def _taught(facts: str) -> str:
    """SHA-256 of what base models of a world are taught; facts: its settings as JSON."""
    return hashlib.sha256(world.taught(world.generate(**json.loads(facts))).encode()).hexdigest()


def keep(output: Path, bases: Path = Path(FOLDER)) -> list[Path]:
    """Copy every base model that a study has trained in `output`, with its record, to where `place` says."""
    kept = []
    for job in sorted(output.glob(f"*/checkpoint{RECORD}")):
        record = read_record(job)
        if record["rule"] == "pretrain_model":
            kept.append(bases / job.parent.name)
            part = part_folder(kept[-1])
            copytree(job.with_name("checkpoint"), part / "checkpoint", ignore=ignore_patterns(MARK))
            write_record(record | {"prefix": None}, part / job.name)  # where its Python lay is of no use elsewhere
            rmtree(kept[-1], ignore_errors=True)
            part.rename(kept[-1])
    if not kept:
        raise UserError(f"No base model was trained in {output}: let the study have one of the source `fictional`.")
    return kept


@program
def main(output: str) -> None:
    """`python -m overpaint.models.trained FOLDER`, in the folder of the checkout."""
    print("Kept:", *keep(Path(output)), sep="\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
