"""Read safetensors files (torch, no transformers)."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from overpaint.errors import UserError


def read_tensors(path: Path, *needed: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; one that is damaged, or lacks `needed` metadata, is one sentence."""
    try:
        with safe_open(path, "pt") as file:
            names, metadata = file.keys(), file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it and run the study again.") from error
    if not set(needed) <= set(metadata):
        raise UserError(f"{path} is another kind of file (no {needed[0]}): delete it and run the study again.")
    return tensors, metadata


def read_overlay(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Control vectors by topic and settings of an overlay (`models.Overlay`)."""
    tensors, metadata = read_tensors(path, "settings")
    return strip(tensors, "control/"), json.loads(metadata["settings"])


def strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
