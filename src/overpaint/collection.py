"""Collect residual-stream activations over prompts; memory does not grow with the number of prompts' tokens."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.activations import Activations
from overpaint.errors import UserError
from overpaint.hooks import residual_sites, watch_sites
from overpaint.models import blocks


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
