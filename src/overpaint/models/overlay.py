"""What unlearning changed in a base model: stored, put in place, taken back."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.models.streamed.access import change, parameters
from overpaint.models.tensors import read_tensors, strip, write_tensors


@dataclass(frozen=True)
class Overlay:
    """What a method changed in a base model.

    tensors: changed parameters by name, in the model's dtype.
    controls: control vectors u by topic, each [width], unit norm; empty where a method has none.
    settings: the method's settings and measured scale; among them `layer` and `c`.
    base: fingerprint of the base model's configuration and of the matrices replaced.
    snapshots: the changed parameters after some of a training's steps, by step; kept in a file of their own.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    controls: dict[str, Tensor] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    base: str = ""
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def save(self, path: Path, snapshots: Path | None = None) -> None:
        """Write as safetensors with metadata, and the snapshots, none in most runs, to a file of their own."""
        tensors = {f"weight/{k}": v for k, v in self.tensors.items()}
        tensors |= {f"control/{k}": v for k, v in self.controls.items()}
        write_tensors(tensors, path, settings=self.settings, base=self.base)
        if snapshots:
            kept = {f"{step}/{k}": v for step, tensors in self.snapshots.items() for k, v in tensors.items()}
            write_tensors(kept, snapshots)

    @classmethod
    def load(cls, path: Path) -> "Overlay":
        """Read what `save` wrote."""
        tensors, metadata = read_tensors(path, "settings", "base")
        return cls(strip(tensors, "weight/"), strip(tensors, "control/"), metadata["settings"], metadata["base"])

    def apply(self, model: nn.Module) -> dict[str, Tensor]:
        """Put the changed tensors into `model`; returns the tensors that were there, for `restore`."""
        if self.tensors and self.base != base_fingerprint(model, list(self.tensors)):
            raise UserError(
                "This overlay was made from another base model: run the method again on this one, or load the base "
                "that the overlay's settings name."
            )
        before = copies(model, self.tensors)
        change(model, self.tensors)
        return before


def load_snapshots(path: Path) -> dict[int, dict[str, Tensor]]:
    """{step: changed parameters}, in the order of steps, as `Overlay.save` wrote them."""
    snapshots: dict[int, dict[str, Tensor]] = {}
    for key, tensor in read_tensors(path)[0].items():
        step, _, name = key.partition("/")
        snapshots.setdefault(int(step), {})[name] = tensor
    return dict(sorted(snapshots.items()))


def copies(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Copies of the parameters of these names."""
    return {name: tensor.clone() for name, tensor in parameters(model, names)}


@contextmanager
def replaced(model: nn.Module, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Within the context `model` has `tensors` in place of its parameters of the same names."""
    before = copies(model, tensors)
    change(model, tensors)
    try:
        yield
    finally:
        change(model, before)


def base_fingerprint(model: nn.Module, names: list[str]) -> str:
    """SHA-256 over the named parameters of a base model."""
    known = {name for name, _ in model.named_parameters()}
    if unknown := sorted(set(names) - known):
        return f"no parameter {unknown[0]}"
    digest = hashlib.sha256()
    for name, tensor in parameters(model, sorted(names)):
        digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
