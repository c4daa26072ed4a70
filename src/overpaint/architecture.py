"""How many blocks a model has and whether its tokenizer writes conversations, from the files of its folder."""

import json
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.names import shown

# How configurations of Hugging Face models call their number of blocks.
BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
LARGEST_FILE = 10**7  # bytes that are read of a configuration file: they have some thousand


def blocks(name: str, model: dict[str, Any]) -> int | None:
    """Number of a model's blocks, as stated or, of a folder, as its config.json says; None where nothing says it."""
    if model["source"] != "folder":
        return model.get("layers")
    file = Path(model["path"]) / "config.json"
    found = _read_json(f"models.{name}.path", file)
    found = found["text_config"] if isinstance(found.get("text_config"), dict) else found
    counts = [found[key] for key in BLOCKS if key in found]
    if not counts or not isinstance(counts[0], int) or isinstance(counts[0], bool) or counts[0] < 1:
        raise UserError(
            f"models.{name}.path: {file} does not say how many blocks the model has (num_hidden_layers is "
            f"{shown(counts[0]) if counts else 'missing'}): fetch the model again."
        )
    return counts[0]


def _read_json(where: str, file: Path) -> dict[str, Any]:
    """The object in a configuration file of a model."""
    try:
        if not file.is_file():  # what waits for a writer is none either
            raise FileNotFoundError(file)
        with file.open(encoding="utf-8") as opened:
            found = json.loads(opened.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: {file} cannot be read ({type(error).__name__}): point it at a Hugging Face folder, as "
            "`save_pretrained` writes it."
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{where}: {file} holds no JSON object: fetch the model again.")
    return found


def has_template(folder: Path) -> bool:
    """Whether the tokenizer in a model's folder has a chat template."""
    if any((folder / name).exists() for name in TEMPLATES):
        return True
    file = folder / "tokenizer_config.json"
    return file.is_file() and bool(_read_json("chat_template", file).get("chat_template"))
