"""Fit the junk direction: what RMU adds to the residual stream of hazardous prompts."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from overpaint.activations import Activations
from overpaint.tensors import read_tensors, strip, write_tensors


@dataclass(frozen=True)
class Junk:
    """Junk directions of one run.

    topics: unit mean shift of each hazardous topic at the fitted depth, [width].
    depth: the fitted depth (start of this block), layer + 1: right after the block that RMU targets.
    means: the base model's mean activation at each residual site over the fitting prompts, [width].
    """

    topics: dict[str, Tensor]
    depth: int
    means: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        tensors = {f"topic/{name}": tensor for name, tensor in self.topics.items()}
        tensors |= {f"mean/{site}": tensor for site, tensor in self.means.items()}
        write_tensors(tensors, path, depth=self.depth)

    @classmethod
    def load(cls, path: str | Path | list) -> "Junk | None":
        """Read what `save` wrote; None for an empty path (the base model has no junk)."""
        if not path:
            return None
        tensors, metadata = read_tensors(path, "depth")
        return cls(strip(tensors, "topic/"), metadata["depth"], strip(tensors, "mean/"))


def shifts(base: Activations, run: Activations, tokens: str, depth: int) -> Tensor:
    """Paired differences run - base at `depth`, [prompts, width]; `tokens` is `last` or `mean` (all but the first)."""
    return (run.at(depth, tokens) - base.at(depth, tokens)).float()


def unit(vector: Tensor) -> Tensor:
    """The vector at norm 1; a zero vector stays zero (a run that changed nothing has no junk)."""
    return torch.nn.functional.normalize(vector, dim=-1)


def orthonormal(vectors: Tensor) -> Tensor:
    """Orthonormal rows that span the rows of `vectors` [k, width]; directions of no extent are dropped."""
    _, values, rows = torch.linalg.svd(vectors.float(), full_matrices=False)
    return rows[values > values.max() * 1e-5] if values.max() > 0 else rows[:0]


def fit(
    base: dict[str, Activations], run: dict[str, Activations], topics: dict[str, str], layer: int, tokens: str
) -> Junk:
    """Mean shift per topic; `topics` maps each hazardous topic to its prompt set, all other sets are benign.

    Base means are averaged over all prompt sets alike.
    """
    means = {site: torch.stack([found.sites[site] for found in base.values()]).mean(0) for site in _sites(base)}
    depth = layer + 1
    directions = {t: unit(shifts(base[name], run[name], tokens, depth).mean(0)) for t, name in topics.items()}
    return Junk(directions, depth, means)


def diagnose(
    base: dict[str, Activations],
    run: dict[str, Activations],
    topics: dict[str, str],
    junk: Junk,
    controls: dict[str, Tensor],
    scales: dict[str, float],
    tokens: str,
    seed: int = 0,
) -> list[dict]:
    """Rows {topic, direction, quantity, value, null_low, null_high} that describe the junk of each topic.

    rank1_share: norm of the mean shift squared over the mean squared norm; split_half: cosine of the directions of
    two random halves of the prompts; attained: mean <a, u> over the length of the control
    vector, `scales`; cos_u and cos_u_centred (the
    all-ones component removed): cosine with the saved control vector, nulls the 2.5 and 97.5 percentiles over 1,000
    fresh `rand` vectors; cos_other_topic: with the other topics' directions (the largest).
    """
    rows = []
    for topic, name in topics.items():
        shift = shifts(base[name], run[name], tokens, junk.depth)
        values = {
            "rank1_share": (rank1_share(shift), math.nan, math.nan),
            "split_half": (split_half(shift, seed), math.nan, math.nan),
        }
        others = [d for t, d in junk.topics.items() if t != topic]
        if others:
            values["cos_other_topic"] = (max(float(junk.topics[topic] @ d) for d in others), math.nan, math.nan)
        if topic in controls:
            u, direction = controls[topic].float(), junk.topics[topic]
            reached = run[name].at(junk.depth, tokens).float() @ u
            values["attained"] = (float(reached.mean()) / scales[topic], math.nan, math.nan)
            values["cos_u"] = _with_null(direction, u, seed, centred=False)
            values["cos_u_centred"] = _with_null(direction, u, seed, centred=True)
        rows += [
            {"topic": topic, "direction": "topic", "quantity": q, "value": v, "null_low": low, "null_high": high}
            for q, (v, low, high) in values.items()
        ]
    return rows


def rank1_share(shift: Tensor) -> float:
    """Share of the paired differences' energy [prompts, width] that their mean carries: 1 if all are equal."""
    energy = shift.pow(2).sum(1).mean()
    return float(shift.mean(0).pow(2).sum() / energy) if energy > 0 else math.nan


def split_half(shift: Tensor, seed: int) -> float:
    """Cosine between the mean shifts of two random halves of the prompts."""
    order = torch.randperm(len(shift), generator=torch.Generator().manual_seed(seed))
    left, right = shift[order[::2]].mean(0), shift[order[1::2]].mean(0)
    return float(torch.cosine_similarity(left, right, dim=0))


def centre(vectors: Tensor) -> Tensor:
    """Vectors without their all-ones component."""
    return vectors - vectors.mean(-1, keepdim=True)


def _with_null(direction: Tensor, u: Tensor, seed: int, centred: bool) -> tuple[float, float, float]:
    """Cosine of `direction` and `u`, and the 95 % range of its cosine with fresh `rand` vectors."""
    fresh = torch.rand(1000, len(u), generator=torch.Generator().manual_seed(seed + 1))
    vectors = torch.cat([u[None], fresh])
    left, right = (centre(direction), centre(vectors)) if centred else (direction, vectors)
    cosines = torch.cosine_similarity(right, left[None], dim=-1)
    low, high = torch.quantile(cosines[1:], torch.tensor([0.025, 0.975])).tolist()
    return float(cosines[0]), low, high


def _sites(sets: dict[str, Activations]) -> list[str]:
    return list(next(iter(sets.values())).sites)
