"""RMU (Li et al. 2024, arXiv 2403.03218): push activations on hazardous text to a random vector, hold the others.

Per hazardous topic t, once, u_t with norm 1; step i works on topic i mod T:
loss = mse(h(forget), c u_t) + alpha mse(h(retain), h_base(retain)), h the output of block `layer`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from overpaint.errors import UserError
from overpaint.models import Overlay, base_fingerprint, blocks, check_layer, down_projection, parameter_names
from overpaint.training import Batch, Span, make_batches, masked_mse, shuffled, train

# How the entries of u are drawn. The reference uses `rand` (uniform on [0, 1)): two of its draws have cosine 3/4.
CONTROLS = {"rand": torch.rand, "randn": torch.randn}


@dataclass(frozen=True)
class _Topic:
    """One hazardous topic: its forget batches, its control vector c*u, its weight alpha."""

    batches: list[Batch]
    target: Tensor
    alpha: float


def unlearn(model, tokenizer, forget, retain, settings) -> tuple[Overlay, list[dict]]:
    """Train the down projections of the `updated` blocks up to `layer`; see the schema for the settings."""
    layer, updated = settings["layer"], settings["updated"]
    check_layer(model, layer, updated)
    span = Span(model, layer - updated + 1, layer)
    parameters = [down_projection(block) for block in blocks(model)[span.start : layer + 1]]
    names = parameter_names(model, parameters)
    base = base_fingerprint(model, names)

    forget_batches = {t: _batches(span, tokenizer, texts, settings) for t, texts in forget.items()}
    retain_batches = _batches(span, tokenizer, retain, settings)
    scale = settings["c"] * _unit([b for batches in forget_batches.values() for b in batches], settings["c_unit"])
    controls = draw_controls(list(forget), retain_batches[0].hidden.shape[-1], settings["control"], settings["seed"])
    topics = {
        t: _Topic(batches, scale * controls[t].to(batches[0].hidden), settings["alpha"])
        for t, batches in forget_batches.items()
    }
    history = train(
        parameters,
        lambda step: _loss(span, list(topics.values()), retain_batches, step),
        steps=settings["steps"],
        lr=settings["lr"],
        probe=lambda step: _probe(span, topics, retain_batches, step),
        every=max(1, settings["steps"] // 20),
    )
    tensors = {name: parameter.detach().clone() for name, parameter in zip(names, parameters, strict=True)}
    return Overlay(tensors, controls, settings | {"scale": scale}, base), history


def draw_controls(topics: list[str], width: int, kind: str, seed: int) -> dict[str, Tensor]:
    """A unit vector [width] per topic, float32, drawn on the CPU so that a seed means the same on every device."""
    if kind not in CONTROLS:
        raise UserError(f"There is no control vector {kind!r}: use one of {', '.join(CONTROLS)} as `control`.")
    generator = torch.Generator().manual_seed(seed)
    draws = {topic: CONTROLS[kind](width, generator=generator) for topic in topics}
    return {topic: draw / draw.norm() for topic, draw in draws.items()}


def _batches(span: Span, tokenizer, texts: list[str], settings: dict) -> list[Batch]:
    ordered = shuffled(texts, settings["seed"]) if settings["shuffle"] else texts
    return make_batches(
        span,
        tokenizer,
        ordered,
        size=settings["batch"],
        length=settings["length"],
        limit=settings["max_batches"],
        skip_first=settings["skip_first"],
        mask_padding=settings["mask_padding"],
    )


def _unit(batches: list[Batch], unit: str) -> float:
    """What c is measured in: 1, or the base's mean or median residual norm on counted hazardous tokens."""
    norms = torch.cat([batch.frozen.norm(dim=-1)[batch.counted] for batch in batches]).float()
    units = {"absolute": 1.0, "mean_norm": norms.mean().item(), "median_norm": norms.median().item()}
    if unit not in units:
        raise UserError(f"There is no unit {unit!r} for c: use one of {', '.join(units)} as `c_unit`.")
    return units[unit]


def _loss(span: Span, topics: list[_Topic], retain: list[Batch], step: int) -> tuple[Tensor, dict[str, float]]:
    """The reference's step: topic step mod T, batch step div T of either corpus, starting again after the last."""
    topic, index = topics[step % len(topics)], step // len(topics)
    forget_batch, retain_batch = topic.batches[index % len(topic.batches)], retain[index % len(retain)]
    forget_loss = masked_mse(span(forget_batch), topic.target, forget_batch.counted)
    retain_loss = masked_mse(span(retain_batch), retain_batch.frozen, retain_batch.counted)
    parts = {"forget_loss": forget_loss.item(), "retain_loss": retain_loss.item()}
    return forget_loss + topic.alpha * retain_loss, parts


@torch.no_grad()
def _probe(span: Span, topics: dict[str, _Topic], retain: list[Batch], step: int) -> list[dict]:
    """Norms, cosines to the base and projection on u of each topic's first batch and the first retain batch."""
    rows = []
    for name, batch, target in [*((n, t.batches[0], t.target) for n, t in topics.items()), ("retain", retain[0], None)]:
        now, then = span(batch)[batch.counted], batch.frozen[batch.counted]
        values = {
            "norm": now.norm(dim=-1).mean(),
            "cosine_to_base": torch.cosine_similarity(now, then, dim=-1).mean(),
            "loss": masked_mse(now, then if target is None else target, torch.ones_like(now[:, 0], dtype=torch.bool)),
        }
        if target is not None:
            values["attained"] = (now @ target).mean() / target.norm() ** 2
        rows += [{"topic": name, "step": step, "quantity": q, "value": float(v)} for q, v in values.items()]
    return rows
