"""The part of a model that a method trains and runs.

Where a loss stands at the target layer, only the blocks from the first edited one to that layer ever run. Blocks below
the first edited one do not change, so what enters it (the prefix) is computed once per batch; the frozen targets come
from the same states before any update, not from a second model.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overpaint.models.hooks import run_span
from overpaint.models.parts import blocks, check_layer, trained_parameters
from overpaint.models.streamed.access import hold


@dataclass(frozen=True)
class Span:
    """The blocks of `model` that a method runs: from the first edited one, `start`, to its target layer, `layer`.

    edited: the parameters that the method trains, as they are now.
    original: what they were, in the same order, where that is kept; `base` runs with these.
    """

    model: nn.Module
    start: int
    layer: int
    edited: list[nn.Parameter]
    original: list[Tensor]

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.model.config.get_text_config().hidden_size

    def __call__(self, entering: Tensor, mask: Tensor) -> Tensor:
        """States after the target layer, from those that enter the first edited block; [batch, tokens, width]."""
        return run_span(self.model, self.layer, {"attention_mask": mask}, self.start, entering)

    @torch.no_grad()
    def base(self, entering: Tensor, mask: Tensor) -> Tensor:
        """The same states of the base model, whatever the training has done so far."""
        with as_before(self.edited, self.original) if self.original else nullcontext():
            return self(entering, mask)


def span_of(model, settings: dict, original: bool = True) -> Span:
    """The blocks that a training with `settings` runs, after a check that the model has them.

    original: keep what the edited matrices were; without, `base` is the base model only until they are changed.
    """
    layer, updated = settings["layer"], settings["updated"]
    check_layer(model, layer, updated)
    start = 0 if updated == "all" else layer + min(updated)
    hold(model, range(len(blocks(model))) if updated == "all" else range(start, layer + 1))
    edited = trained_parameters(model, layer, updated, settings["projections"])
    kept = [parameter.detach().clone() for parameter in edited if original]
    return Span(model, start, layer, edited, kept)


@contextmanager
def as_before(edited: list[nn.Parameter], original: list[Tensor]) -> Iterator[None]:
    """Within the context the parameters are what they were before the training."""
    trained = [parameter.data for parameter in edited]
    try:
        for parameter, before in zip(edited, original, strict=True):
            parameter.data = before
        yield
    finally:
        for parameter, now in zip(edited, trained, strict=True):
            parameter.data = now


def movement(now: Tensor, base: Tensor, inner: Tensor, first: Tensor) -> dict[str, Tensor]:
    """What became of states [batch, tokens, width]: their norm and cosine to the base's where `inner`, and
    norm_first, that where `first`; both [batch, tokens]."""
    norms = now.norm(dim=-1)
    return {
        "norm": norms[inner].mean(),
        "norm_first": norms[first].mean(),
        "cosine_to_base": torch.cosine_similarity(now, base, dim=-1)[inner].mean(),
    }
