"""Representation rerouting (circuit breakers; Zou et al. 2024, arXiv 2406.04313): states on hazardous text are turned
away from where the base has them, the others held.

Step i of S works on topic i mod T, with the progress p = (i + 1) / 2 S:
loss = c (1 - p) mean relu(cos(h, h_base))(forget) + alpha_t p mean norm(h - h_base)(retain), h the output of block
`layer`. The authors train low-rank adapters of all blocks up to the layer, and hold retained text at every layer.
"""

from dataclasses import replace

import torch
from torch import Tensor

from overpaint.models.overlay import Overlay
from overpaint.unlearning import prefix
from overpaint.unlearning.methods import Task
from overpaint.unlearning.prefix import Batch, Prefix, per_topic
from overpaint.unlearning.span import Span, movement, span_of
from overpaint.unlearning.training import Step, overlay_of, rows

NEEDS = ("corpora", "prefix")
GIVES_U = False


def unlearn(model, task: Task) -> tuple[Overlay, list[dict]]:
    """Train the `updated` blocks; c is the weight of the loss on texts to forget."""
    span = span_of(model, task.settings)
    batches = prefix.of_task(span, task, norms=False)
    return overlay_of(model, task, span.edited, batches.steps, _Loop(span, batches, task.settings))


def forget_loss(now: Tensor, base: Tensor) -> Tensor:
    """How far states [n, width] still point where the base's do: 1 where they are the same, 0 from a right angle on."""
    return torch.cosine_similarity(now, base, dim=-1).relu().mean()


def retain_loss(now: Tensor, base: Tensor) -> Tensor:
    """How far states [n, width] are from the base's."""
    return (now - base).norm(dim=-1).mean()


def weights(step: int, steps: int) -> tuple[float, float]:
    """Weights of both losses at a step from 0 on: from 1 to 1/2, and from 0 to 1/2."""
    progress = (step + 1) / (2 * steps)
    return 1 - progress, progress


class _Loop:
    """The losses and the history of one training."""

    lower, told = "`c`", ""

    def __init__(self, span: Span, batches: Prefix[Batch], settings: dict) -> None:
        self.span, self.batches, self.settings = span, batches, settings
        self.alphas = dict(zip(batches.forget, per_topic(settings["alpha"], len(batches.forget)), strict=True))
        self.probed = {name: self._with_base(batch) for name, batch in batches.first().items()}

    def step(self, step: int) -> Step:
        """Forget text away from the base's states, retained text to them."""
        topic, forget, retain = self.batches.at(step)
        after_forget, after_retain = prefix.after(self.span, forget, retain)
        losses = {
            "forget_loss": self._loss(after_forget, self._with_base(forget), topic),
            "retain_loss": self._loss(after_retain, retain, "retain"),
        }
        away, hold = weights(step, self.batches.steps)
        total = self.settings["c"] * away * losses["forget_loss"] + self.alphas[topic] * hold * losses["retain_loss"]
        parts = {name: loss.item() for name, loss in losses.items()}
        return Step(total, parts, forget.mask.numel() + retain.mask.numel())

    @torch.no_grad()
    def probe(self, step: int) -> list[dict]:
        """History of each topic's first batch and the first retain batch: loss, and `movement` after the layer."""
        history = []
        for name, batch in self.probed.items():
            now = self.span(batch.entering, batch.mask)
            values = movement(now, batch.frozen, batch.mask.bool() & ~batch.first(), batch.first())
            values["loss"] = self._loss(now, batch, name)
            history += rows(name, step, values)
        return history

    def _loss(self, now: Tensor, batch: Batch, name: str) -> Tensor:
        counted = batch.counted(self.settings["skip_first"], self.settings["mask_padding"])
        return (retain_loss if name == "retain" else forget_loss)(now[counted], batch.frozen[counted])

    def _with_base(self, batch: Batch) -> Batch:
        return replace(batch, frozen=self.span.base(batch.entering, batch.mask))
