"""Clear directions from the residual stream: directional ablation (Arditi et al. 2024) and its nulls.

A clearing of the catalogue names a kind of direction; a kind yields one or more variants (one per topic, one per
random draw or refit), each a set of orthonormal rows that are projected out. Nulls are kinds like any other.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.junk.directions import Junk, orthonormal
from overpaint.models.hooks import Edit, edit_sites

Variants = list[tuple[dict, Tensor]]  # what tells a variant from others (its topic, draw or refit), and its rows
Direction = Callable[[Junk, dict, torch.Generator], Variants]
DIRECTIONS: dict[str, Direction] = {}
# Which residual sites are cleared, from their block, their place in it and the run's layer. `writes` are what the
# embedding and every attention and MLP add to the stream: there alone a strength leaves just 1 - s of a component.
SCOPES: dict[str, Callable[[int, str, int], bool]] = {
    "all": lambda block, place, layer: True,
    "from_layer": lambda block, place, layer: block >= layer,
    "block": lambda block, place, layer: block == layer,
    "inputs": lambda block, place, layer: place == "input",
    "writes": lambda block, place, layer: place != "input" or block == 0,
}
LABEL_TYPES = {"draw": "Int64", "refit": "Int64"}


@dataclass(frozen=True)
class Clearing:
    """One concrete clearing.

    name: its entry in the catalogue.    topic: whose direction it is, "" where it is no single topic's.
    basis: orthonormal rows to project out, [rank, width]; no rows clears nothing.
    offsets: what the projection is set to at each residual site, [rank]; the keys are the sites that are cleared.
    on_base: apply it to the base model instead of the unlearned one.
    strength: s, how much of what stands beside the offset is taken away at each site: 1 all of it, more turns it.
    draw, refit: its number, where there are several random draws or refits.
    """

    name: str
    topic: str
    basis: Tensor
    offsets: dict[str, Tensor]
    on_base: bool = False
    strength: float = 1.0
    draw: int | None = None
    refit: int | None = None

    @property
    def label(self) -> dict:
        """The columns by which rows of answers tell it from others, whose types are `LABEL_TYPES`."""
        return {"clearing": self.name, "direction_of": self.topic, "draw": self.draw, "refit": self.refit}


def direction(null: bool = False, drawn: bool = False, needs: tuple[str, ...] = ()) -> Callable[[Direction], Direction]:
    """Register a kind of direction under its function's name: (junk, settings, generator) -> variants.

    null: it knows nothing of the hazardous texts.    drawn: it is drawn at random, `draws` times.
    needs: what beside the junk, `u` (control vectors) or `benign` (a benign prompt set). Arguments are literals, since
    who plans a study reads them without torch (`declared.decorated`).
    """

    def register(function: Direction) -> Direction:
        DIRECTIONS[function.__name__] = function
        return function

    return register


@direction()
def topic(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The junk direction of each hazardous topic, one variant each."""
    return [({"topic": name}, orthonormal(row[None])) for name, row in junk.topics.items()]


@direction()
def span(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The span of all topics' junk directions."""
    return [({}, orthonormal(torch.stack(list(junk.topics.values()))))]


@direction()
def pooled(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """One direction for all topics: the mean of theirs."""
    return [({}, orthonormal(torch.stack(list(junk.topics.values())).mean(0)[None]))]


@direction(needs=("benign",))
def contrast(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The span of each topic's mean less the benign mean, in the unlearned model alone."""
    return [({}, orthonormal(torch.cat(_stored("contrast", junk))))]


@direction()
def top_k(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The span of the first `rank` right singular vectors of all topics' paired differences."""
    return [({}, orthonormal(_stored("top_k", junk)[0][: settings["rank"]]))]


@direction(needs=("u",))
def u(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The span of all topics' control vectors, as the method saved them."""
    return [({}, orthonormal(torch.cat(_stored("u", junk))))]


@direction(null=True, needs=("benign",))
def benign(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The mean shift of benign prompts: a null that is fitted as the junk is."""
    return [({}, orthonormal(torch.cat(_stored("benign", junk))))]


@direction()
def span_boot(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The span of the topics' directions, refitted on `resamples` bootstrap resamples of the fitting prompts."""
    refitted = _stored("span_boot", junk)[: settings["resamples"]]
    return [({"refit": number}, orthonormal(rows)) for number, rows in enumerate(refitted)]


@direction(null=True)
def ones(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """The all-ones vector, with which every uniform control vector has cosine 0.87."""
    return [({}, orthonormal(torch.ones(1, _width(junk))))]


@direction(null=True, drawn=True)
def rand(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """Random subspaces of entries uniform on [0, 1), drawn as RMU draws u: a null that shares its all-ones part."""
    return _draws(torch.rand, junk, settings, generator)


@direction(null=True, drawn=True)
def randn(junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    """Random subspaces of isotropic directions."""
    return _draws(torch.randn, junk, settings, generator)


def expand(name: str, settings: dict, junk: Junk, layer: int, seed: int) -> list[Clearing]:
    """The concrete clearings of one catalogue entry for a run at `layer`, with the run's `junk`.

    Random draws depend on `seed` and the entry's name alone.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name}/{seed}".encode()))
    variants = DIRECTIONS[settings["direction"]](junk, settings, generator)
    sites = [site for site in junk.means if covers(settings["scope"], site, layer)]
    zero = settings["target"] == "zero"
    return [
        Clearing(
            name=name,
            basis=basis,
            offsets={site: torch.zeros(len(basis)) if zero else basis @ junk.means[site].float() for site in sites},
            on_base=settings["on_base"],
            strength=settings["strength"],
            **{"topic": ""} | which,
        )
        for which, basis in variants
    ]


def for_run(name: str, settings: dict, run: dict, junk: Junk | None) -> list[Clearing]:
    """The concrete clearings of an entry for a run with settings `run`; without junk only `none` can be had."""
    if settings["direction"] == "none":
        return [Clearing(name, "", torch.empty(0, 0), {})]
    return expand(name, settings, junk, run["layer"], run["seed"])


def of_topic(variants: list[Clearing], topic: str) -> Clearing:
    """The variant made for `topic`, or the first where none is (a benign topic, a clearing without variants)."""
    return next((clearing for clearing in variants if clearing.topic == topic), variants[0])


@contextmanager
def clear(model: nn.Module, clearing: Clearing) -> Iterator[None]:
    """Within the context `model` runs with the clearing applied at each of its residual sites, at every token."""
    with edit_sites(model, edits_of(model, clearing)):
        yield


def edits_of(model: nn.Module, clearing: Clearing) -> dict[str, Edit]:
    """What a clearing does to the states of `model`, by residual site."""
    basis, strength = clearing.basis.to(model.device, model.dtype), clearing.strength
    if not (len(basis) and strength):
        return {}
    return {site: _project(basis, offset, strength) for site, offset in clearing.offsets.items()}


def covers(scope: str, site: str, layer: int) -> bool:
    """Whether a scope holds a residual site, for a run at `layer`."""
    block, place = site.split("/")
    return SCOPES[scope](int(block), place, layer)


def _stored(estimator: str, junk: Junk) -> list[Tensor]:
    """What an estimator found for each topic, or for all together."""
    directions = list(junk.others.get(estimator, {}).values())
    if not directions:
        raise UserError(
            f"This run has no directions of the kind {estimator!r}: `u` needs a method with control vectors, "
            "`contrast` and `benign` a benign prompt set in study.prompts; leave the clearing out of study.evaluate."
        )
    return directions


def _project(basis: Tensor, offset: Tensor, strength: float) -> Edit:
    """x -> x - s ((x.r) - offset) r for the rows r of `basis` and the strength s."""
    offset = offset.to(basis)
    return lambda hidden: hidden - strength * (hidden @ basis.T - offset) @ basis


def _draws(draw: Callable, junk: Junk, settings: dict, generator: torch.Generator) -> Variants:
    shape = (settings["rank"], _width(junk))
    return [({"draw": i}, orthonormal(draw(*shape, generator=generator))) for i in range(settings["draws"])]


def _width(junk: Junk) -> int:
    return len(next(iter(junk.means.values())))
