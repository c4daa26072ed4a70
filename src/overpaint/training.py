"""The training loop of unlearning: only the blocks from the first edited one to the target layer ever run in it.

Blocks below the first edited one do not change, so what enters it is computed once per batch; the frozen targets
come from the same cached states before any update, not from a second model.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from overpaint.errors import UserError
from overpaint.hooks import Arguments, block_arguments, run_blocks


@dataclass(frozen=True)
class Batch:
    """A batch of text, up to the first edited block.

    hidden: hidden states that enter the first edited block, [batch, tokens, width].
    arguments: the other arguments of the blocks.
    counted: tokens that count in losses and means, [batch, tokens] bool.
    frozen: the base model's hidden states after the target layer, [batch, tokens, width].
    """

    hidden: Tensor
    arguments: Arguments
    counted: Tensor
    frozen: Tensor


@dataclass(frozen=True)
class Span:
    """The blocks of `model` that a method runs: from the first edited one, `start`, to its target layer, `layer`."""

    model: nn.Module
    start: int
    layer: int

    def __call__(self, batch: Batch) -> Tensor:
        """Hidden states after the target layer, [batch, tokens, width]."""
        return run_blocks(self.model, self.start, self.layer, batch.hidden, batch.arguments)


def make_batches(
    span: Span,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    *,
    size: int,
    length: int,
    limit: int,
    skip_first: bool,
    mask_padding: bool,
) -> list[Batch]:
    """At most `limit` full batches of `size` texts, cut at `length` tokens, padded on the left."""
    tokenizer.padding_side, tokenizer.truncation_side = "left", "right"
    whole = [texts[start : start + size] for start in range(0, len(texts) - size + 1, size)]
    if not whole:
        raise UserError(f"A corpus of {len(texts)} texts has no full batch of {size}: add texts or lower `batch`.")
    return [_batch(span, tokenizer, chunk, length, skip_first, mask_padding) for chunk in whole[:limit]]


@torch.no_grad()
def _batch(
    span: Span, tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int, skip_first: bool, mask_padding: bool
) -> Batch:
    encoded = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=length)
    inputs = {name: encoded[name].to(span.model.device) for name in ("input_ids", "attention_mask")}
    hidden, arguments = block_arguments(span.model, span.start, inputs)
    real = inputs["attention_mask"].bool()
    counted = real if mask_padding else torch.ones_like(real)
    if skip_first:
        counted = counted & ~(real & (real.cumsum(1) == 1))
    frozen = run_blocks(span.model, span.start, span.layer, hidden, arguments)
    return Batch(hidden, arguments, counted, frozen)


def masked_mse(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Squared error averaged over the counted tokens and the width; `target` broadcasts over tokens."""
    return ((output - target) ** 2).mean(-1)[counted].mean()


def shuffled(texts: list[str], seed: int) -> list[str]:
    """The texts in an order that `seed` fixes."""
    return random.Random(seed).sample(texts, len(texts))


def train(
    parameters: list[nn.Parameter],
    loss_of: Callable[[int], tuple[Tensor, dict[str, float]]],
    *,
    steps: int,
    lr: float,
    probe: Callable[[int], list[dict]],
    every: int,
) -> list[dict]:
    """AdamW (eps 1e-6, no weight decay, constant rate) on `parameters` for `steps` steps.

    `loss_of(step)` returns the loss and its parts; `probe(step)` returns history rows {topic, step, quantity, value},
    taken before the first update, then every `every` steps, and at the end. A loss that is not finite ends the run.
    """
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=lr, eps=1e-6, weight_decay=0.0)
    history = probe(0)
    for step in range(steps):
        loss, parts = loss_of(step)
        if not loss.isfinite():
            raise UserError(f"Training diverged at step {step} with {parts}: lower `lr`, `c` or `alpha`.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % every == 0 or step == steps - 1:
            print(f"step {step + 1:5d}/{steps}", "  ".join(f"{k} {v:.4g}" for k, v in parts.items()), flush=True)
            history += probe(step + 1)
    for parameter in parameters:
        parameter.requires_grad_(False)
        if not parameter.isfinite().all():
            raise UserError(f"Training diverged in its last step, {steps}: lower `lr`, `c` or `alpha`.")
    return history
