"""RMU (Li et al. 2024, arXiv 2403.03218): push activations on hazardous text to a random vector, hold the others.

Per hazardous topic t, once, u_t with norm 1; step i works on topic i mod T:
loss = mse(h(forget), c u_t) + alpha_t mse(h(retain), h_base(retain)), h the output of block `layer`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overpaint.errors import UserError
from overpaint.models.overlay import Overlay
from overpaint.unlearning import prefix
from overpaint.unlearning.methods import Task
from overpaint.unlearning.prefix import Batch, Batches, Prefix, per_topic
from overpaint.unlearning.span import Span, movement, span_of
from overpaint.unlearning.training import Step, masked_mse, overlay_of, rows

NEEDS = ("corpora", "prefix")
GIVES_U = True

# How u is drawn: `uniform` is the reference's, entries uniform on [0, 1), so that two draws have cosine 3/4; `shared`
# is one such draw for all topics; `normal` has normal entries.
CONTROLS = {"uniform": torch.rand, "shared": torch.rand, "normal": torch.randn}
UNITS = {"absolute": None, "mean_norm": torch.mean, "median_norm": torch.median}


@dataclass(frozen=True)
class _Topic:
    """One hazardous topic: its control vector, the vector's length, its weight alpha."""

    control: Tensor
    scale: float
    alpha: float


def unlearn(model, task: Task) -> tuple[Overlay, list[dict]]:
    """Train the chosen matrices of the `updated` blocks; see the schema for the settings."""
    unit = task.settings["c_unit"]
    if unit not in UNITS:
        raise UserError(f"There is no unit {unit!r} for c: use one of {', '.join(UNITS)} as `c_unit`.")
    return push(model, task, _scales, norms=unit != "absolute")


def push(
    model, task: Task, scales: Callable[[Prefix, dict], dict[str, float]], norms: bool
) -> tuple[Overlay, list[dict]]:
    """RMU with control vectors of the lengths that `scales` gives for each topic."""
    settings = task.settings
    span = span_of(model, settings, original=not task.prefix)  # what is computed beforehand has the base's targets
    batches = prefix.of_task(span, task, norms)
    lengths = scales(batches, settings)
    controls = draw_controls(list(task.forget), span.width, settings["control_vector"], settings["seed"])
    alphas = per_topic(settings["alpha"], len(task.forget))
    topics = {
        topic: _Topic(controls[topic].to(model.device), lengths[topic], alpha)
        for topic, alpha in zip(task.forget, alphas, strict=True)
    }
    loop = _Loop(span, batches, topics, settings)
    return overlay_of(model, task, span.edited, batches.steps, loop, controls, scale=lengths)


def draw_controls(topics: list[str], width: int, kind: str, seed: int) -> dict[str, Tensor]:
    """A unit vector [width] per topic, float32, drawn on the CPU so that a seed means the same on every device."""
    if kind not in CONTROLS:
        raise UserError(f"There is no control vector {kind!r}: use one of {', '.join(CONTROLS)} as `control_vector`.")
    generator = torch.Generator().manual_seed(seed)
    draws = [CONTROLS[kind](width, generator=generator) for _ in topics]
    if kind == "shared":
        draws = draws[:1] * len(topics)
    return {topic: draw / draw.norm() for topic, draw in zip(topics, draws, strict=True)}


def counted_norms(batches: Batches, settings: dict) -> list[Tensor]:
    """Norms of the base's activations at the tokens of each batch that count in the losses."""
    every = (batches[index] for index in range(len(batches)))
    return [b.norms[b.counted(settings["skip_first"], settings["mask_padding"])] for b in every]


def _scales(batches: Prefix, settings: dict) -> dict[str, float]:
    """c in its unit: 1, or the mean or median norm over the text of all topics."""
    unit = 1.0
    if settings["c_unit"] != "absolute":
        norms = [n for of_topic in batches.forget.values() for n in counted_norms(of_topic, settings)]
        unit = UNITS[settings["c_unit"]](torch.cat(norms)).item()
    return dict.fromkeys(batches.forget, settings["c"] * unit)


class _Loop:
    """The losses and the history of one training."""

    lower = "`c` or `alpha`"

    def __init__(self, span: Span, batches: Prefix, topics: dict[str, _Topic], settings: dict) -> None:
        self.span, self.batches, self.topics, self.settings = span, batches, topics, settings
        lengths = ", ".join(f"{name} {topic.scale:.4g}" for name, topic in topics.items())
        self.told = f"length of the control vectors: {lengths}"
        self.probed = {
            name: replace(batch, frozen=span.base(batch.entering, batch.mask))
            for name, batch in batches.first().items()
        }

    def step(self, step: int) -> Step:
        """Forget text to its control vector, retained text to where it was."""
        name, forget, retain = self.batches.at(step)
        topic = self.topics[name]
        after_forget, after_retain = prefix.after(self.span, forget, retain)
        target = (topic.scale * topic.control).to(after_forget.dtype)
        losses = {
            "forget_loss": masked_mse(after_forget, target, self._counted(forget)),
            "retain_loss": masked_mse(after_retain, retain.frozen, self._counted(retain)),
        }
        total = losses["forget_loss"] + topic.alpha * losses["retain_loss"]
        parts = {name: loss.item() for name, loss in losses.items()}
        return Step(total, parts, forget.mask.numel() + retain.mask.numel())

    @torch.no_grad()
    def probe(self, step: int) -> list[dict]:
        """History of each topic's first batch and the first retain batch, over real tokens but the first ones.

        norm, and norm_first at the first tokens; cosine_to_base; loss, over the tokens that count; for hazardous topics
        cosine_u and attained, the projection on u over the length of the control vector.
        """
        history = []
        for name, batch in self.probed.items():
            now, inner = self.span(batch.entering, batch.mask), batch.mask.bool() & ~batch.first()
            values, target = movement(now, batch.frozen, inner, batch.first()), batch.frozen
            if name in self.topics:
                u, scale = self.topics[name].control.to(now.dtype), self.topics[name].scale
                target = scale * u
                values["cosine_u"] = torch.cosine_similarity(now, u, dim=-1)[inner].mean()
                values["attained"] = (now @ u)[inner].mean() / scale
            values["loss"] = masked_mse(now, target, self._counted(batch))
            history += rows(name, step, values)
        return history

    def _counted(self, batch: Batch) -> Tensor:
        return batch.counted(self.settings["skip_first"], self.settings["mask_padding"])
