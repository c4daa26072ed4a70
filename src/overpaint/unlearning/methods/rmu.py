"""RMU (Li et al. 2024, arXiv 2403.03218): push activations on hazardous text to a random vector, hold the others.

Per hazardous topic t, once, u_t with norm 1; step i works on topic i mod T:
loss = mse(h(forget), c u_t) + alpha_t mse(h(retain), h_base(retain)), h the output of block `layer`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overpaint.errors import UserError
from overpaint.models.overlay import Overlay, base_fingerprint
from overpaint.models.parts import check_layer, parameter_names, trained_parameters
from overpaint.unlearning import prefix
from overpaint.unlearning.methods import Task
from overpaint.unlearning.prefix import Batch, Batches, Prefix, per_topic
from overpaint.unlearning.training import Resume, Span, Step, masked_mse, train

NEEDS = ("corpora", "prefix")
GIVES_U = True

# How u is drawn: `uniform` is the reference's, entries uniform on [0, 1), so that two draws have cosine 3/4; `shared`
# is one such draw for all topics; `normal` has normal entries.
CONTROLS = {"uniform": torch.rand, "shared": torch.rand, "normal": torch.randn}
UNITS = {"absolute": None, "mean_norm": torch.mean, "median_norm": torch.median}


@dataclass(frozen=True)
class _Topic:
    """One hazardous topic: its forget batches, its control vector, the vector's length, its weight alpha."""

    batches: Batches
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
    settings = task.settings | {"dtype": str(model.dtype).removeprefix("torch.")}
    span = span_of(model, settings)
    names = parameter_names(model, span.edited)
    base = base_fingerprint(model, names)
    batches = _prefix(span, task, norms)
    lengths = scales(batches, settings)
    controls = draw_controls(list(task.forget), span.width, settings["control_vector"], settings["seed"])
    alphas = dict(zip(task.forget, per_topic(settings["alpha"], len(task.forget)), strict=True))
    loop = _Loop(
        span,
        {t: _Topic(batches.forget[t], controls[t].to(model.device), lengths[t], alphas[t]) for t in task.forget},
        batches.retain,
        settings,
    )
    history, kept = train(
        span.edited,
        loop.step,
        steps=batches.steps,
        lr=settings["lr"],
        probe=loop.probe,
        diverged=loop.diverged,
        resume=Resume(task.resume, _key(task, base)) if task.resume else None,
        snapshots=settings.get("snapshots", 0),
    )
    tensors = {name: parameter.detach().clone() for name, parameter in zip(names, span.edited, strict=True)}
    snapshots = {step: dict(zip(names, matrices, strict=True)) for step, matrices in kept.items()}
    return Overlay(tensors, controls, settings | {"scale": lengths}, base, snapshots), history


def span_of(model, settings: dict) -> Span:
    """The blocks that a training with `settings` runs, after a check that the model has them."""
    layer, updated = settings["layer"], settings["updated"]
    check_layer(model, layer, updated)
    edited = trained_parameters(model, layer, updated, settings["projections"])
    return Span(model, layer + min(updated), layer, edited, [parameter.detach().clone() for parameter in edited])


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


def _prefix(span: Span, task: Task, norms: bool) -> Prefix:
    """The batches in the order in which this run meets them."""
    if task.prefix:
        computed = prefix.read(task.prefix, list(task.forget), span.model.device)
    else:
        computed = prefix.compute(span, task.tokenizer, task.forget, task.retain, task.settings, norms)
    seed = task.settings["seed"] if task.settings["shuffle"] else None
    forget = {topic: batches.ordered(seed) for topic, batches in computed.forget.items()}
    return Prefix(forget, computed.retain.ordered(seed), computed.steps)


def _key(task: Task, base: str) -> str:
    """What a training depends on: settings, texts, base model."""
    content = json.dumps([task.settings, task.forget, task.retain, base], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class _Loop:
    """The losses and the history of one training."""

    def __init__(self, span: Span, topics: dict[str, _Topic], retain: Batches, settings: dict) -> None:
        self.span, self.topics, self.retain, self.settings = span, topics, retain, settings
        first = {name: topic.batches[0] for name, topic in topics.items()} | {"retain": retain[0]}
        self.probed = {
            name: replace(batch, frozen=span.base(batch.entering, batch.mask)) for name, batch in first.items()
        }

    def step(self, step: int) -> Step:
        """The reference's step: topic step mod T, batch step div T of either corpus, starting again after the last."""
        topic, index = list(self.topics.values())[step % len(self.topics)], step // len(self.topics)
        forget, retain = (batches[index % len(batches)] for batches in (topic.batches, self.retain))
        after_forget, after_retain = self._run(forget, retain)
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
        rows = []
        for name, batch in self.probed.items():
            now, inner = self.span(batch.entering, batch.mask), batch.mask.bool() & ~batch.first()
            norms, target = now.norm(dim=-1), batch.frozen
            values = {
                "norm": norms[inner].mean(),
                "norm_first": norms[batch.first()].mean(),
                "cosine_to_base": torch.cosine_similarity(now, batch.frozen, dim=-1)[inner].mean(),
            }
            if name in self.topics:
                u, scale = self.topics[name].control.to(now.dtype), self.topics[name].scale
                target = scale * u
                values["cosine_u"] = torch.cosine_similarity(now, u, dim=-1)[inner].mean()
                values["attained"] = (now @ u)[inner].mean() / scale
            values["loss"] = masked_mse(now, target, self._counted(batch))
            rows += [{"topic": name, "step": step, "quantity": q, "value": float(v)} for q, v in values.items()]
        return rows

    def diverged(self, step: int, parts: dict[str, float]) -> str:
        """The sentence for a loss or weight that is not finite after `step` steps."""
        losses = ", ".join(f"{name} {value:.4g}" for name, value in parts.items()) or "weights that are not finite"
        lengths = ", ".join(f"{name} {topic.scale:.4g}" for name, topic in self.topics.items())
        norms = {r["topic"]: r["value"] for r in self.probe(step) if r["quantity"] == "norm"}
        return (
            f"Training diverged at step {step} with {losses}; length of the control vectors: {lengths}; mean norm of "
            f"activations now: {', '.join(f'{name} {value:.4g}' for name, value in norms.items())}. Lower `lr` first, "
            "then `c` or `alpha`."
        )

    def _run(self, forget: Batch, retain: Batch) -> tuple[Tensor, Tensor]:
        """States of both batches after the target layer, in one pass where they are equally long."""
        if forget.mask.shape != retain.mask.shape:
            return self.span(forget.entering, forget.mask), self.span(retain.entering, retain.mask)
        joint = self.span(torch.cat([forget.entering, retain.entering]), torch.cat([forget.mask, retain.mask]))
        return joint.chunk(2)

    def _counted(self, batch: Batch) -> Tensor:
        return batch.counted(self.settings["skip_first"], self.settings["mask_padding"])
