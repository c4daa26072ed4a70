"""Negative preference optimisation (Zhang et al. 2024, arXiv 2404.05868): texts to forget as answers that lost.

loss = c (-2/beta) mean log sigmoid(-beta log(pi / pi_base)) + alpha_t NLL(retain), with the log-likelihoods of whole
texts and the base as the reference. Its gradient is that of mean log pi where beta is small, and fades where pi has
fallen below the base's.
"""

import torch.nn.functional as F
from torch import Tensor

from overpaint.models.overlay import Overlay
from overpaint.unlearning.likelihood import Texts, descend
from overpaint.unlearning.methods import Task

NEEDS = ("corpora",)
GIVES_U = False


def unlearn(model, task: Task) -> tuple[Overlay, list[dict]]:
    """Train the `updated` blocks; c is the weight of the loss on texts to forget."""
    return descend(model, task, forget_loss, reference=True)


def forget_loss(logs: Tensor, texts: Texts, settings: dict) -> Tensor:
    """The loss without a winning answer; `beta` is the inverse temperature."""
    beta = settings["beta"]
    return -2 / beta * F.logsigmoid(-beta * (logs - texts.reference)).mean()
