"""Adaptive RMU (Dang et al. 2024, arXiv 2408.06223): RMU whose control vectors are as long as the layer asks for.

Each topic's control vector is c times the mean norm of the base's activations on that topic's text at the target
layer; the rest is RMU.
"""

import torch

from overpaint.models.overlay import Overlay
from overpaint.unlearning.methods import Task, rmu
from overpaint.unlearning.prefix import Prefix

NEEDS = ("corpora", "prefix")
GIVES_U = True


def unlearn(model, task: Task) -> tuple[Overlay, list[dict]]:
    """Train as RMU does, with the length of each topic's control vector fitted to its text."""
    return rmu.push(model, task, _scales, norms=True)


def _scales(prefix: Prefix, settings: dict) -> dict[str, float]:
    norms = {topic: rmu.counted_norms(batches, settings) for topic, batches in prefix.forget.items()}
    return {topic: settings["c"] * torch.cat(parts).mean().item() for topic, parts in norms.items()}
