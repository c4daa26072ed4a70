"""Estimate the junk direction from the activations of a run and its base, in more than one way.

An estimator is a function of a `Sample`, registered under its name; it gives rows [k, width] of norm 1 for each topic,
or under "" for all topics together, the strongest first. What a method or a study lacks (control vectors, benign
prompts) leaves an estimator with nothing to give.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from overpaint.junk.activations import Activations
from overpaint.junk.directions import Junk, unit

TOP = 8  # right singular vectors that are kept
RESAMPLES = 20  # of the fitting prompts; a clearing `span_boot` takes the first of them


@dataclass(frozen=True)
class Sample:
    """Vectors at one depth and position, a row per prompt; those of base and run are of the same prompts.

    base, run: of each hazardous topic, [prompts, width].
    benign_base, benign_run: of each benign prompt set, [prompts, width].
    controls: the control vector u of each topic, [width]; empty where the method has none.
    """

    base: dict[str, Tensor]
    run: dict[str, Tensor]
    benign_base: dict[str, Tensor]
    benign_run: dict[str, Tensor]
    controls: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        base: dict[str, Activations],
        run: dict[str, Activations],
        topics: dict[str, str],
        controls: dict[str, Tensor],
        depth: int,
        tokens: str,
    ) -> "Sample":
        """The vectors at `depth`; `topics` maps hazardous topics to their prompt sets, all other sets are benign.

        tokens: `last`, or `mean` over all but the first.
        """
        benign = {name: name for name in base if name not in topics.values()}
        parts = [
            {name: activations[key].at(depth, tokens).float() for name, key in keys.items()}
            for keys in (topics, benign)
            for activations in (base, run)
        ]
        return cls(*parts, {topic: u.float() for topic, u in controls.items()})

    def shifts(self) -> dict[str, Tensor]:
        """Paired differences run - base of each topic, [prompts, width]."""
        return {topic: self.run[topic] - self.base[topic] for topic in self.run}

    def pick(self, choose: Callable[[int], Tensor]) -> "Sample":
        """The sample with the prompts that `choose` names of each set, given their number."""
        hazardous = {topic: choose(len(rows)) for topic, rows in self.base.items()}
        benign = {name: choose(len(rows)) for name, rows in self.benign_base.items()}
        parts = [
            {name: vectors[name][rows] for name, rows in chosen.items()}
            for chosen, pair in ((hazardous, (self.base, self.run)), (benign, (self.benign_base, self.benign_run)))
            for vectors in pair
        ]
        return Sample(*parts, self.controls)


Estimator = Callable[[Sample], dict[str, Tensor]]
ESTIMATORS: dict[str, Estimator] = {}


def estimator(function: Estimator) -> Estimator:
    """Register an estimator under its function's name."""
    ESTIMATORS[function.__name__] = function
    return function


@estimator
def topic(sample: Sample) -> dict[str, Tensor]:
    """The mean shift of each topic (Arditi and Chughtai 2024)."""
    return {name: unit(shift.mean(0))[None] for name, shift in sample.shifts().items()}


@estimator
def pooled(sample: Sample) -> dict[str, Tensor]:
    """One direction for all topics: the mean of theirs."""
    return {"": unit(torch.cat(list(topic(sample).values())).mean(0))[None]}


@estimator
def contrast(sample: Sample) -> dict[str, Tensor]:
    """Each topic's mean less the benign mean, in the run alone: needs no base."""
    if not sample.benign_run:
        return {}
    benign = torch.cat(list(sample.benign_run.values())).mean(0)
    return {name: unit(rows.mean(0) - benign)[None] for name, rows in sample.run.items()}


@estimator
def top_k(sample: Sample) -> dict[str, Tensor]:
    """The first right singular vectors of all topics' paired differences, uncentred; each topic weighs alike.

    Turned so that the mean shift has no negative component along them.
    """
    differences = torch.cat([shift / len(shift) ** 0.5 for shift in sample.shifts().values()])
    _, values, rows = torch.linalg.svd(differences, full_matrices=False)
    rows = rows[values > values.max() * 1e-5][:TOP] if values.max() > 0 else rows[:0]
    signs = torch.where(rows @ differences.mean(0) < 0, -1.0, 1.0)
    return {"": rows * signs[:, None]}


@estimator
def u(sample: Sample) -> dict[str, Tensor]:
    """The control vector u of each topic, which the method saved: what the junk was meant to be."""
    return {name: unit(sample.controls[name])[None] for name in sample.run if name in sample.controls}


@estimator
def benign(sample: Sample) -> dict[str, Tensor]:
    """The mean shift of the benign prompts: a null that is fitted as the junk is."""
    if not sample.benign_run:
        return {}
    moved = [sample.benign_run[name] - sample.benign_base[name] for name in sample.benign_run]
    return {"": unit(torch.cat(moved).mean(0))[None]}


def refit(sample: Sample, count: int, seed: int = 0) -> dict[str, Tensor]:
    """The topics' directions [topics, width] refitted on `count` bootstrap resamples of the prompts, by number.

    Numbers have two digits, so that files, which sort names, keep their order.
    """
    generator = torch.Generator().manual_seed(seed)

    def resample(prompts: int) -> Tensor:
        return torch.randint(prompts, (prompts,), generator=generator)

    return {f"{number:02d}": torch.cat(list(topic(sample.pick(resample)).values())) for number in range(count)}


def fit(sample: Sample, base: dict[str, Activations], layer: int) -> Junk:
    """The directions of a run at `layer` by every estimator; base means are averaged over all prompt sets alike."""
    means = {site: torch.stack([prompts.sites[site] for prompts in base.values()]).mean(0) for site in _sites(base)}
    estimates = {name: function(sample) for name, function in ESTIMATORS.items()}
    directions = {name: rows[0] for name, rows in estimates.pop("topic").items()}
    others = {name: rows for name, rows in estimates.items() if name != "pooled"}  # which follows from the topics'
    return Junk(directions, layer + 1, means, others | {"span_boot": refit(sample, RESAMPLES)})


def _sites(sets: dict[str, Activations]) -> list[str]:
    return list(next(iter(sets.values())).sites)
