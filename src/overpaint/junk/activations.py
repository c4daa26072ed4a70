"""Residual-stream activations of one model on a set of prompts: what is kept of them, their description, their file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from overpaint.models.tensors import read_tensors, strip, write_tensors

# The splits as files name them: longer or shorter names would move the tensors, by whose places products are rounded.
STORED = {"fit": "fit", "test": "report"}


@dataclass(frozen=True)
class Activations:
    """Activations of one model on one set of prompts; depth l is the start of block l, the last the final residual.

    last: at the last token, [prompts, depths, width].
    mean: mean over all tokens but the first, [prompts, depths, width].
    first: at the first token (attention sink), mean over prompts, [all depths, width].
    sites: mean over all tokens but the first, over prompts, at each residual site (`hooks.residual_sites`), [width].
    depths: the depths of `last` and `mean`; None for all of them.
    """

    last: Tensor
    mean: Tensor
    first: Tensor
    sites: dict[str, Tensor]
    depths: tuple[int, ...] | None = None

    def at(self, depth: int, position: str) -> Tensor:
        """Vectors at one depth, [prompts, width]; `position` is `last` or `mean`."""
        return getattr(self, position)[:, depth if self.depths is None else self.depths.index(depth)]


def describe(run: Activations, base: Activations) -> list[dict]:
    """Rows {position, depth, n, norm, cosine, each also _low and _high}: medians and quartiles over n prompts.

    Cosines are to the base on the same prompt. Positions: `last` token; `mean` over all tokens but the first; `first`
    token, where the mean over prompts stands for all of them.
    """
    rows = []
    for position in ("last", "mean", "first"):
        states, other = (getattr(which, position).float().reshape(-1, *base.first.shape) for which in (run, base))
        norms, cosines = states.norm(dim=-1), torch.cosine_similarity(states, other, dim=-1)
        for depth in range(states.shape[1]):
            rows.append(
                {"position": position, "depth": depth, "n": len(states)}
                | _quartiles("norm", norms[:, depth])
                | _quartiles("cosine", cosines[:, depth])
            )
    return rows


def compare(
    sets: dict[tuple[str, str], Activations], base: Path | None, split: str, topics: dict[str, str]
) -> list[dict]:
    """Rows {topic, prompts} + those of `describe` of every prompt set of one split, beside the base's activations.

    base: where the base's are kept; without, the sets are the base's own.    topics: {prompt set: topic}.
    """
    of_split = {name: activations for (part, name), activations in sets.items() if part == split}
    beside = load(base, split) if base else of_split
    return [
        {"topic": topics[name], "prompts": name} | row
        for name in of_split
        for row in describe(of_split[name], beside[name])
    ]


def save(sets: dict[tuple[str, str], Activations], path: Path, depths: tuple[int, ...] | None = None) -> None:
    """Write activations by (split, prompt set) as safetensors; the prompts' own vectors at `depths` alone, if given.

    At all 33 depths of a model of 7 billion weights, vectors of 500 prompts would outweigh what RMU changes.
    """
    tensors = {}
    for (split, name), states in sets.items():
        key, kept = f"{STORED[split]}/{name}", slice(None) if depths is None else list(depths)
        tensors |= {
            f"{key}/last": states.last[:, kept],
            f"{key}/mean": states.mean[:, kept],
            f"{key}/first": states.first,
        }
        tensors |= {f"{key}/sites/{site}": tensor for site, tensor in states.sites.items()}
    write_tensors(tensors, path, depths=depths)


def load(path: Path, split: str) -> dict[str, Activations]:
    """The activations of one split by prompt set, as `save` wrote them."""
    tensors, metadata = read_tensors(path, "depths")
    depths = metadata["depths"] and tuple(metadata["depths"])
    sets = {}
    for name in dict.fromkeys(key.split("/")[1] for key in tensors if key.startswith(f"{STORED[split]}/")):
        key = f"{STORED[split]}/{name}"
        stored = strip(tensors, f"{key}/")
        sets[name] = Activations(stored["last"], stored["mean"], stored["first"], strip(stored, "sites/"), depths)
    return sets


def _quartiles(name: str, values: Tensor) -> dict[str, float]:
    low, middle, high = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75])).tolist()
    return {name: middle, f"{name}_low": low, f"{name}_high": high}
