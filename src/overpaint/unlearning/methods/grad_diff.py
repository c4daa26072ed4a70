"""Gradient difference (Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121): ascent on texts to
forget, descent on others.

loss = -c NLL(forget) + alpha_t NLL(retain), in nats a token. It has no bound below, so that steps, lr and c end it.
"""

from torch import Tensor

from overpaint.models.overlay import Overlay
from overpaint.unlearning.likelihood import Texts, descend, per_token
from overpaint.unlearning.methods import Task

NEEDS = ("corpora",)
GIVES_U = False


def unlearn(model, task: Task) -> tuple[Overlay, list[dict]]:
    """Train the `updated` blocks; c is the weight of the loss on texts to forget."""
    return descend(model, task, forget_loss)


def forget_loss(logs: Tensor, texts: Texts, settings: dict) -> Tensor:
    """Mean log-likelihood of a token."""
    return per_token(logs, texts)
