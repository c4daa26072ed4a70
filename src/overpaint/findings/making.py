"""What the text says of how a study was made: its settings, its cost, and the commit and machine that ran it."""

from pathlib import Path

import pandas as pd

from overpaint.findings.kept import Kept
from overpaint.findings.phrases import number_word
from overpaint.report.select import hazardous_topics
from overpaint.report.wording import listed

DIRECTIONS = {"span": "the span of all hazardous topics' junk", "topic": "each hazardous topic's own junk"}
SCOPES = {"all": "everywhere", "from_layer": "from the target layer on"}
TARGETS = {"zero": "to zero", "base_mean": "to the base's mean"}


def primary_is(kept: Kept) -> str:
    """What the primary clearing takes out, where, and to what."""
    how = kept.config["clearings"][kept.primary]
    return f"{DIRECTIONS[how['direction']]}, {SCOPES[how['scope']]}, {TARGETS[how['target']]}"


def axes(kept: Kept) -> tuple[list[int], list[float]]:
    """The layers of the sweep, and its values of c."""
    return sorted(kept.cells.layer.unique()), sorted(kept.cells.c.unique())


def layers_of(kept: Kept, method: str) -> list[int]:
    """The layers of a method."""
    return sorted(kept.cells.layer[kept.cells.method == method].unique())


def topics(kept: Kept) -> list[str]:
    """The hazardous topics."""
    return hazardous_topics(kept.scores)


def closer_seed(kept: Kept) -> int:
    """The seed of the run that is looked at more closely."""
    return kept.config["study"]["measures"]["depth"]["runs"][0]["seed"]


def questions_each(row: pd.Series) -> str:
    """` two questions each,` of a row of the base's scores."""
    return f" {number_word(int(row.answers / row.n))} questions each,"


def seeds(kept: Kept) -> int:
    """How many seeds a cell has."""
    grids = (grid["seed"] for grid in kept.config["study"]["runs"])
    return max(len(seed) if isinstance(seed, list) else 1 for seed in grids)


def minutes(kept: Kept) -> int:
    """Processor minutes of the study's own jobs, without those that trained its base models before."""
    own = kept.provenance[~kept.provenance.before]
    return round(own.cpu_seconds.sum() / 60)


def weights(folder: Path) -> float:
    """Millions of numbers in the weights of a base model in `bases/`, of two bytes each."""
    return (folder / "model.safetensors").stat().st_size / 2e6


def made(kept: Kept) -> str:
    """The command, commit, time and machine that made what is kept, in a line."""
    own, before = (kept.provenance[kept.provenance.before == so] for so in (False, True))
    days = sorted({str(time)[:10] for time in [*own["first"], *own["last"]]})
    when = " to ".join(dict.fromkeys([days[0], days[-1]]))
    cost = f"{own.jobs.sum()} jobs, {minutes(kept)} processor minutes"
    text = f"`{kept.command}` at {_commits(own)} ({when}; {cost}; {_machines(own)})"
    return text + (f"; base models trained before at {_commits(before)} ({_machines(before)})" if len(before) else "")


def briefly(kept: Kept) -> str:
    """The command and commit alone, where `made` stands nearby."""
    return f"`{kept.command}` at {_commits(kept.provenance[~kept.provenance.before])}"


def machines(kept: Kept) -> str:
    """The processors on which the study's own jobs ran."""
    return _machines(kept.provenance[~kept.provenance.before])


def _commits(jobs: pd.DataFrame) -> str:
    names = [f"`{name[:12]}`" for name in jobs.git.unique()]
    return f"commit{'s' * (len(names) > 1)} {listed(names)}"


def _machines(jobs: pd.DataFrame) -> str:
    """Processors with their instructions, and versions of torch."""
    by_name = jobs.assign(name=jobs.processor.where(jobs.processor != "", jobs.machine)).groupby("name").capability
    names = [f"{name} ({', '.join(sorted({*known} - {''}))})".replace(" ()", "") for name, known in by_name]
    return f"{listed(names)}, torch {listed(sorted(set(jobs.torch)))}"
