"""Collect residual-stream activations over prompts; memory does not grow with the number of prompts' tokens."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.hooks import residual_sites, watch_sites
from overpaint.models import blocks
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


@torch.no_grad()
def collect(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[str], batch_tokens: int = 1024
) -> Activations:
    """Activations of `model` on `prompts`, in their order, in batches of at most `batch_tokens` tokens."""
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    if min(map(len, encoded), default=0) < 2:
        raise UserError("A prompt has fewer than two tokens, none beside the first: lengthen it or leave it out.")
    depths, width = len(blocks(model)) + 1, model.get_input_embeddings().embedding_dim
    last = torch.empty(len(prompts), depths, width, dtype=model.dtype)
    mean, first = torch.empty_like(last), torch.zeros(depths, width)
    sums = {name: torch.zeros(width) for name in residual_sites(model)}
    for rows in _groups(encoded, batch_tokens):
        tokens = torch.tensor([encoded[row] for row in rows], device=model.device)

        def see(site: str, hidden: Tensor, rows: list[int] = rows) -> None:
            inner = hidden[:, 1:].float().mean(1).cpu()
            if site in sums:
                sums[site] += inner.sum(0)
            block, _, place = site.partition("/")
            if place in ("input", ""):
                depth = depths - 1 if block == "final" else int(block)
                last[rows, depth] = hidden[:, -1].cpu()
                mean[rows, depth] = inner.to(mean.dtype)
                first[depth] += hidden[:, 0].float().sum(0).cpu()

        with watch_sites(model, see):
            model(tokens, use_cache=False, logits_to_keep=1)
    return Activations(last, mean, first / len(prompts), {name: total / len(prompts) for name, total in sums.items()})


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


def _groups(encoded: list[list[int]], batch_tokens: int) -> list[list[int]]:
    """Indices of equally long prompts, in groups of at most `batch_tokens` tokens: no padding, no mask."""
    lengths: dict[int, list[int]] = {}
    for row, tokens in enumerate(encoded):
        lengths.setdefault(len(tokens), []).append(row)
    groups = []
    for length, rows in sorted(lengths.items()):
        size = max(1, batch_tokens // length)
        groups += [rows[start : start + size] for start in range(0, len(rows), size)]
    return groups
