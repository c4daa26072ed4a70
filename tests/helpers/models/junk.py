"""Activations with a shift that is planted."""

import torch
from torch import Tensor

from overpaint.junk.activations import Activations
from overpaint.junk.directions import unit
from overpaint.junk.estimators import Sample

WIDTH, DEPTHS, LAYER = 128, 4, 1
TOPICS = {"north": "north_prompts", "south": "south_prompts"}
SETS = [*TOPICS.values(), "benign_prompts"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def control(seed: int = 0) -> Tensor:
    """A control vector as RMU draws it."""
    return unit(torch.rand(WIDTH, generator=torch.Generator().manual_seed(seed)))


def make_base(seed: int = 0) -> dict[str, Activations]:
    """Random activations of 40 prompts in each set."""
    return {
        name: Activations(
            last=random(40, DEPTHS, WIDTH, seed=seed + index),
            mean=random(40, DEPTHS, WIDTH, seed=index + 10),
            first=random(DEPTHS, WIDTH),
            sites={site: random(WIDTH, seed=index + 20) for site in ("0/input", "0/mlp")},
        )
        for index, name in enumerate(SETS)
    }


def shifted(base: dict[str, Activations], by: dict[str, Tensor], depth: int = LAYER + 1) -> dict[str, Activations]:
    """`base` with a shift added to the named sets at one depth: [width] or [prompts, width]."""
    run = {}
    for name, found in base.items():
        last, mean = found.last.clone(), found.mean.clone()
        last[:, depth] += by.get(name, torch.zeros(WIDTH))
        mean[:, depth] += 2 * by.get(name, torch.zeros(WIDTH)).roll(1, -1)
        run[name] = Activations(last, mean, found.first, found.sites)
    return run


def sampled(base, run, tokens="last", topics=TOPICS, controls=None) -> Sample:
    """What estimators see of base and run."""
    return Sample.of(base, run, topics, controls or {}, LAYER + 1, tokens)
