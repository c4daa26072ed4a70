"""What jobs in environments of conda left, and what these environments have."""

import json
import subprocess
from pathlib import Path

from helpers.checkout import OUT
from safetensors import safe_open

# Loaded by name, or run as a command, by what a rule's script imports.
BY_NAME = {"render_report": {"ipykernel"}, "evaluate": {"datasets"}, "download_package": {"pip"}}


def facts(folder: Path) -> list[dict]:
    """Provenance of every job in a copy."""
    return [json.loads(path.read_text()) for path in (folder / OUT).rglob("*.job.json")]


def content(path: Path) -> object:
    """A file's bytes; of a file of tensors these and its notes, whose order in the file is left to chance."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "pt") as file:
        return file.metadata(), {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


def fault(rule: str, prefix: Path) -> str:
    """What goes wrong when an environment alone has to serve a rule's imports; empty where nothing does."""
    done = subprocess.run([prefix / "bin/python", "-I", "-c", imports(rule)], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""
