"""Write and read safetensors files (torch, no transformers)."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from overpaint.errors import UserError


def write_tensors(tensors: dict[str, Tensor], path: Path, **metadata: Any) -> None:
    """Write tensors and JSON metadata; equal content makes equal files.

    One entry holds all metadata, since safetensors writes several in random order.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    save_file(tensors, path, {"metadata": json.dumps(metadata, sort_keys=True)})
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)  # safetensors lets only the owner read


def read_tensors(path: Path, *needed: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file. Raises UserError where it is damaged or lacks `needed` metadata."""
    try:
        with safe_open(path, "pt") as file:
            names, metadata = file.keys(), json.loads((file.metadata() or {}).get("metadata", "{}"))
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it and run the study again.") from error
    if not set(needed) <= set(metadata):
        raise UserError(f"{path} is another kind of file (no {needed[0]}): delete it and run the study again.")
    return tensors, metadata


def read_overlay(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Control vectors by topic and settings of an overlay (`models.Overlay`)."""
    tensors, metadata = read_tensors(path, "settings")
    return strip(tensors, "control/"), metadata["settings"]


def strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
