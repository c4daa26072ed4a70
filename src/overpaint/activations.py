"""Residual-stream activations of one model on a set of prompts: what is kept of them, their description, their file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from overpaint.tensors import read_tensors, strip


@dataclass(frozen=True)
class Activations:
    """Activations of one model on one set of prompts; depth l is the start of block l, the last the final residual.

    last: at the last token, [prompts, depths, width].
    mean: mean over all tokens but the first, [prompts, depths, width].
    first: at the first token (attention sink), mean over prompts, [depths, width].
    sites: mean over all tokens but the first, over prompts, at each residual site (`hooks.residual_sites`), [width].
    """

    last: Tensor
    mean: Tensor
    first: Tensor
    sites: dict[str, Tensor]


def describe(run: Activations, base: Activations) -> list[dict]:
    """Rows {position, depth, n, norm, cosine, each also _low and _high}: medians and quartiles over n prompts.

    Cosines are to the base on the same prompt. Positions: `last` token; `mean` over all tokens but the first; `first`
    token, where the mean over prompts stands for all of them.
    """
    rows = []
    for position in ("last", "mean", "first"):
        own, other = (getattr(found, position).float().reshape(-1, *base.first.shape) for found in (run, base))
        norms, cosines = own.norm(dim=-1), torch.cosine_similarity(own, other, dim=-1)
        for depth in range(own.shape[1]):
            rows.append(
                {"position": position, "depth": depth, "n": len(own)}
                | _quartiles("norm", norms[:, depth])
                | _quartiles("cosine", cosines[:, depth])
            )
    return rows


def save(sets: dict[tuple[str, str], Activations], path: Path) -> None:
    """Write activations by (split, prompt set) as safetensors."""
    tensors = {}
    for (split, name), found in sets.items():
        key = f"{split}/{name}"
        tensors |= {f"{key}/last": found.last, f"{key}/mean": found.mean, f"{key}/first": found.first}
        tensors |= {f"{key}/sites/{site}": tensor for site, tensor in found.sites.items()}
    save_file(tensors, path)


def load(path: Path, split: str) -> dict[str, Activations]:
    """The activations of one split by prompt set, as `save` wrote them."""
    tensors, _ = read_tensors(path)
    sets = {}
    for name in dict.fromkeys(key.split("/")[1] for key in tensors if key.startswith(f"{split}/")):
        key = f"{split}/{name}"
        found = strip(tensors, f"{key}/")
        sets[name] = Activations(found["last"], found["mean"], found["first"], strip(found, "sites/"))
    return sets


def _quartiles(name: str, values: Tensor) -> dict[str, float]:
    low, middle, high = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75])).tolist()
    return {name: middle, f"{name}_low": low, f"{name}_high": high}
