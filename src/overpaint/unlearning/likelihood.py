"""What methods share whose loss is the likelihood of texts, whichever loss each puts on the texts to forget.

Step i works on topic i mod T: loss = c F(forget) + alpha_t NLL(retain), NLL in nats a token and F the method's.
The loss stands behind the last block, so that all blocks run and nothing is computed beforehand. Texts are padded on
the right, and padding never counts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overpaint.models.hooks import run_span
from overpaint.models.overlay import Overlay
from overpaint.unlearning.methods import Task
from overpaint.unlearning.prefix import Prefix, lazily, per_topic
from overpaint.unlearning.span import Span, as_before, movement, span_of
from overpaint.unlearning.training import Step, overlay_of, rows


@dataclass(frozen=True)
class Texts:
    """A batch of texts, padded on the right.

    ids, mask: [batch, tokens], the mask 1 at real tokens.
    reference: log-likelihood of each text by the base, [batch], in nats; of texts to forget, where a method asks.
    """

    ids: Tensor
    mask: Tensor
    reference: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """Tokens of each text that have others before them, [batch]."""
        return self.mask[:, 1:].sum(1)


# The loss on texts to forget, a scalar: (log-likelihood of each text [batch], the texts, the run's settings).
ForgetLoss = Callable[[Tensor, Texts, dict], Tensor]


def descend(model, task: Task, forget_loss: ForgetLoss, reference: bool = False) -> tuple[Overlay, list[dict]]:
    """Train the `updated` blocks, or `all`; see the schema for the settings.

    reference: give the loss the base's log-likelihoods too.
    """
    span = span_of(model, task.settings)
    task.tokenizer.padding_side, task.tokenizer.truncation_side = "right", "right"

    def make(batches: list[list[str]], length: int, kept: bool) -> list[Texts]:
        return [made(texts, length, kept) for texts in batches]

    def made(texts: list[str], length: int, kept: bool) -> Texts:
        encoded = task.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=length)
        ids, mask = (encoded[name].to(model.device) for name in ("input_ids", "attention_mask"))
        if kept or not reference:
            return Texts(ids, mask)
        with torch.no_grad(), as_before(span.edited, span.original):
            return Texts(ids, mask, log_likelihoods(model, ids, mask))

    batches = lazily(make, task.forget, task.retain, task.settings).ordered(task.settings)
    return overlay_of(model, task, span.edited, batches.steps, _Loop(span, batches, task.settings, forget_loss))


def log_likelihoods(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Log-likelihood of each text in nats, [batch]: of its tokens but the first, each after those before it."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    return -(F.cross_entropy(logits.mT, ids[:, 1:], reduction="none") * mask[:, 1:]).sum(1)


def per_token(logs: Tensor, texts: Texts) -> Tensor:
    """Mean log-likelihood over all tokens of a batch, as a language model's loss takes it, less its sign."""
    return logs.sum() / texts.counts.sum()


class _Loop:
    """The losses and the history of one training."""

    lower, told = "`c`", ""

    def __init__(self, span: Span, batches: Prefix[Texts], settings: dict, forget_loss: ForgetLoss) -> None:
        self.span, self.batches, self.settings, self.forget_loss = span, batches, settings, forget_loss
        self.alphas = dict(zip(batches.forget, per_topic(settings["alpha"], len(batches.forget)), strict=True))
        with torch.no_grad():
            self.before = {name: self._states(texts) for name, texts in batches.first().items()}

    def step(self, step: int) -> Step:
        """Texts of one topic less likely, those to retain as likely as may be."""
        topic, forget, retain = self.batches.at(step)
        losses = {"forget_loss": self._loss(forget, topic), "retain_loss": self._loss(retain, "retain")}
        total = self.settings["c"] * losses["forget_loss"] + self.alphas[topic] * losses["retain_loss"]
        parts = {name: loss.item() for name, loss in losses.items()}
        return Step(total, parts, forget.mask.numel() + retain.mask.numel())

    @torch.no_grad()
    def probe(self, step: int) -> list[dict]:
        """History of each topic's first batch and the first retain batch: loss, and `movement` after the layer."""
        history = []
        for name, texts in self.batches.first().items():
            first = texts.mask.cumsum(1) == 1
            values = movement(self._states(texts), self.before[name], texts.mask.bool() & ~first, first)
            values["loss"] = self._loss(texts, name)
            history += rows(name, step, values)
        return history

    def _loss(self, texts: Texts, name: str) -> Tensor:
        logs = log_likelihoods(self.span.model, texts.ids, texts.mask)
        return -per_token(logs, texts) if name == "retain" else self.forget_loss(logs, texts, self.settings)

    def _states(self, texts: Texts) -> Tensor:
        return run_span(self.span.model, self.span.layer, {"input_ids": texts.ids, "attention_mask": texts.mask})
