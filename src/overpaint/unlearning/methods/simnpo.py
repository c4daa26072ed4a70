"""SimNPO (Fan et al. 2024, arXiv 2410.07163): NPO without a reference, by the likelihood of a token.

loss = c (-2/beta) mean log sigmoid(-beta log(pi) / tokens - margin) + alpha_t NLL(retain).
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
    return descend(model, task, forget_loss)


def forget_loss(logs: Tensor, texts: Texts, settings: dict) -> Tensor:
    """The loss, `beta` the inverse temperature, `margin` how far beyond it a text is to be unlikely."""
    beta = settings["beta"]
    return -2 / beta * F.logsigmoid(-beta * logs / texts.counts - settings["margin"]).mean()
