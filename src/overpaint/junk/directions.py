"""The junk directions of a run: what RMU adds to the residual stream of hazardous prompts."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from overpaint.models.tensors import read_tensors, strip, write_tensors


@dataclass(frozen=True)
class Junk:
    """Junk directions of one run.

    topics: unit mean shift of each hazardous topic at the fitted depth, [width].
    depth: the fitted depth (start of this block), layer + 1: right after the block that RMU targets.
    means: the base model's mean activation at each residual site over the fitting prompts, [width].
    others: what other estimators make of the same prompts, {estimator: {topic or "" for all: rows [k, width]}}, the
        strongest row first; under `span_boot` the topics' directions refitted on resamples of the prompts.
    """

    topics: dict[str, Tensor]
    depth: int
    means: dict[str, Tensor]
    others: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        tensors = {f"topic/{name}": tensor for name, tensor in self.topics.items()}
        tensors |= {f"mean/{site}": tensor for site, tensor in self.means.items()}
        for estimator, directions in self.others.items():
            tensors |= {f"other/{estimator}/{name}": rows for name, rows in directions.items()}
        write_tensors(tensors, path, depth=self.depth)

    @classmethod
    def load(cls, path: str | Path | list) -> "Junk | None":
        """Read what `save` wrote; None for an empty path (the base model has no junk)."""
        if not path:
            return None
        tensors, metadata = read_tensors(path, "depth")
        # Products round by where a tensor lies in memory, and in the file that depends on what else is there.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        others: dict[str, dict[str, Tensor]] = {}
        for key, rows in strip(tensors, "other/").items():
            estimator, _, name = key.partition("/")
            others.setdefault(estimator, {})[name] = rows
        return cls(strip(tensors, "topic/"), metadata["depth"], strip(tensors, "mean/"), others)


def unit(vector: Tensor) -> Tensor:
    """The vector at norm 1; a zero vector stays zero (a run that changed nothing has no junk)."""
    return torch.nn.functional.normalize(vector, dim=-1)


def orthonormal(vectors: Tensor) -> Tensor:
    """Orthonormal rows that span the rows of `vectors` [k, width]; directions of no extent are dropped."""
    _, values, rows = torch.linalg.svd(vectors.float(), full_matrices=False)
    return rows[values > values.max() * 1e-5] if values.max() > 0 else rows[:0]
