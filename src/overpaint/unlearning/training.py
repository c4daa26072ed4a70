"""The training loop of unlearning, which all methods that train share, and what it makes of a model: an overlay."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from overpaint.errors import UserError
from overpaint.jobs.job import part_folder
from overpaint.models.overlay import Overlay, base_fingerprint
from overpaint.models.parts import parameter_names
from overpaint.models.tensors import read_tensors, strip, write_tensors
from overpaint.unlearning.methods import Task

SAVE_EVERY_S = 60.0  # at most so much of a training is lost when it is cut off
PROBES = 20  # history is taken at so many even distances over a training
TELL_EVERY_S = 5.0  # the log has a line at every probe, and one after so long without

Snapshots = dict[int, list[Tensor]]  # the trained parameters by the number of steps done, in their order


@dataclass(frozen=True)
class Step:
    """What one step gives back: the loss, its parts by name, and how many tokens it ran on."""

    loss: Tensor
    parts: dict[str, float]
    tokens: int


class Loop(Protocol):
    """The losses and the history of one training.

    lower: what to lower, after the rate, where it diverges; told: what more is said of it then, or nothing.
    """

    lower: str
    told: str

    def step(self, step: int) -> Step:
        """The loss of a step, with its gradient."""

    def probe(self, step: int) -> list[dict]:
        """Rows {topic, step, quantity, value} after so many steps, the mean norm of activations among them."""


@dataclass(frozen=True)
class Resume:
    """Where an interrupted training left off: a file of its own, not an output.

    path: the file; its job removes it when the outputs are in place, so that nothing on the way there loses a training.
    key: what the training depends on; a file with another key is not used.
    """

    path: Path
    key: str

    @property
    def part(self) -> Path:
        """The folder of what is being written (a safetensors file being written is a file of another name)."""
        return part_folder(self.path)

    def save(
        self, step: int, parameters: list[nn.Parameter], optimizer: torch.optim.AdamW, history: list, kept: Snapshots
    ) -> None:
        """Write weights, optimizer state, history and snapshots after `step` steps; whole or not at all."""
        tensors = {f"weight/{i}": parameter.detach() for i, parameter in enumerate(parameters)}
        states = optimizer.state_dict()["state"]
        tensors |= {f"state/{i}/{name}": value for i, state in states.items() for name, value in state.items()}
        tensors |= {f"snapshot/{at}/{i}": tensor for at, matrices in kept.items() for i, tensor in enumerate(matrices)}
        part = self.part / self.path.name
        part.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors, part, key=self.key, step=step, history=history)
        part.replace(self.path)

    def load(
        self, parameters: list[nn.Parameter], optimizer: torch.optim.AdamW
    ) -> tuple[int, list[dict], Snapshots] | None:
        """Put back what `save` wrote; steps done, history and snapshots, or None where there is nothing of this run."""
        if not self.path.exists():
            return None
        tensors, metadata = read_tensors(self.path, "key", "step")
        if metadata["key"] != self.key:
            return None
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in strip(tensors, "state/").items():
            index, _, kind = name.partition("/")
            states.setdefault(int(index), {})[kind] = tensor
        with torch.no_grad():
            for i, parameter in enumerate(parameters):
                parameter.copy_(tensors[f"weight/{i}"])
        optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
        kept = {int(name.split("/")[0]) for name in strip(tensors, "snapshot/")}
        snapshots = {at: [tensors[f"snapshot/{at}/{i}"] for i in range(len(parameters))] for at in sorted(kept)}
        return metadata["step"], metadata["history"], snapshots


def overlay_of(
    model: nn.Module,
    task: Task,
    edited: list[nn.Parameter],
    steps: int,
    loop: Loop,
    controls: dict | None = None,
    **more,
) -> tuple[Overlay, list[dict]]:
    """Train `edited` by the losses of `loop`; what became of them, and the history.

    controls: control vectors by topic, of methods that have some.    more: what was measured, beside the settings.
    """
    settings, names = task.settings, parameter_names(model, edited)
    base = base_fingerprint(model, names)
    history, kept = train(
        edited,
        loop.step,
        steps=steps,
        lr=settings["lr"],
        probe=loop.probe,
        diverged=lambda step, parts: _diverged(loop, step, parts),
        resume=Resume(task.resume, _key(task, base)) if task.resume else None,
        snapshots=settings.get("snapshots", 0),
    )
    tensors = {name: parameter.detach().clone() for name, parameter in zip(names, edited, strict=True)}
    snapshots = {step: dict(zip(names, matrices, strict=True)) for step, matrices in kept.items()}
    recorded = settings | {"dtype": str(model.dtype).removeprefix("torch.")} | more
    return Overlay(tensors, controls or {}, recorded, base, snapshots), history


def train(
    parameters: list[nn.Parameter],
    step_of: Callable[[int], Step],
    *,
    steps: int,
    lr: float,
    probe: Callable[[int], list[dict]],
    diverged: Callable[[int, dict[str, float]], str],
    resume: Resume | None = None,
    snapshots: int = 0,
) -> tuple[list[dict], Snapshots]:
    """AdamW as the reference has it (eps 1e-6, no weight decay, constant rate) on `parameters` for `steps` steps.

    Returns the history and the parameters after `snapshots` numbers of steps, which grow as squares up to the last.
    `probe(step)` returns history rows {topic, step, quantity, value}; they are taken before the first update, `PROBES`
    times on the way, and at the end. A loss or weight that is not finite ends the run with the sentence of `diverged`.
    """
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=lr, eps=1e-6, weight_decay=0.0)
    done, history, kept = (resume.load(parameters, optimizer) if resume else None) or (0, probe(0), {})
    wanted = {round(steps * ((k + 1) / snapshots) ** 2) for k in range(snapshots)}
    every, tokens, began = max(1, steps // PROBES), 0, time.monotonic()
    saved = last_line = began
    for step in tqdm(range(done, steps), initial=done, total=steps, unit="step", disable=None):
        outcome = step_of(step)
        if not outcome.loss.isfinite():
            raise UserError(diverged(step, outcome.parts))
        optimizer.zero_grad()
        outcome.loss.backward()
        _scale_eps(optimizer, step + 1)
        optimizer.step()
        tokens += outcome.tokens
        rows = probe(step + 1) if (step + 1) % every == 0 or step == steps - 1 else []
        history += rows
        if rows or time.monotonic() - last_line >= TELL_EVERY_S:
            last_line = time.monotonic()
            print(_line(step + 1, steps, outcome.parts, rows, tokens, last_line - began, done), flush=True)
        if step + 1 in wanted:
            kept[step + 1] = [parameter.detach().clone() for parameter in parameters]
        if resume and time.monotonic() - saved >= SAVE_EVERY_S and step < steps - 1:
            resume.save(step + 1, parameters, optimizer, history, kept)
            saved = time.monotonic()
    for parameter in parameters:
        parameter.requires_grad_(False)
        if not parameter.isfinite().all():
            raise UserError(diverged(steps, {}))
    return history, kept


def masked_mse(output: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Squared error averaged over the counted tokens and the width; `target` broadcasts over tokens."""
    target = target.expand_as(output)
    return F.mse_loss(output, target) if counted.all() else F.mse_loss(output[counted], target[counted])


def rows(topic: str, step: int, values: dict[str, Tensor]) -> list[dict]:
    """Rows of a history from its quantities."""
    return [{"topic": topic, "step": step, "quantity": name, "value": float(value)} for name, value in values.items()]


def _diverged(loop: Loop, step: int, parts: dict[str, float]) -> str:
    """The sentence for a loss or weight that is not finite after `step` steps; parts: the losses."""
    losses = ", ".join(f"{name} {value:.4g}" for name, value in parts.items()) or "weights that are not finite"
    norms = [f"{row['topic']} {row['value']:.4g}" for row in loop.probe(step) if row["quantity"] == "norm"]
    told = [loop.told] if loop.told else []
    return (
        f"Training diverged at step {step} with "
        + "; ".join([losses, *told, f"mean norm of activations now: {', '.join(norms)}"])
        + f". Lower `lr` first, then {loop.lower}."
    )


def _key(task: Task, base: str) -> str:
    """What a training depends on: settings, texts, base model."""
    content = json.dumps([task.settings, task.forget, task.retain, base], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _scale_eps(optimizer: torch.optim.AdamW, step: int) -> None:
    """Add eps to the second moment before its bias is corrected, as the AdamW of the reference does.

    It used transformers' own AdamW; torch's adds eps after the correction, so that its first steps would be larger
    where gradients are as small as eps.
    """
    for group in optimizer.param_groups:
        group["eps"] = 1e-6 / (1 - group["betas"][1] ** step) ** 0.5


def _line(step: int, steps: int, parts: dict, rows: list[dict], tokens: int, seconds: float, done: int) -> str:
    """A line of the log: losses, speed, time left; norms and cosines by topic."""
    losses = [f"{name} {value:.4g}" for name, value in parts.items()]
    shown = [
        f"{row['topic']} {row['quantity']} {row['value']:.3g}"
        for row in rows
        if row["quantity"] in ("norm", "cosine_to_base")
    ]
    left = seconds / (step - done) * (steps - step)
    speed = [f"{tokens / max(seconds, 1e-9):.0f} tokens/s", f"{left:.0f} s left"]
    return "  ".join([f"step {step:5d}/{steps}", *losses, *speed, *shown])
