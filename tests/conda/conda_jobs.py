"""What jobs in environments of conda left, and what these environments have."""

import ast
import json
import subprocess
from pathlib import Path

from helpers.checkout import OUT
from helpers.environments import closure, needed
from real_conda import ROOT
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


def imports(rule: str) -> str:
    """What a rule's script imports, with the library and what that loads by name, as a program."""
    script = ast.parse((ROOT / f"workflow/scripts/{rule}.py").read_text())
    own = [ast.unparse(node) for node in script.body if isinstance(node, ast.Import | ast.ImportFrom)]
    text = "".join(path.read_text() for path in closure(rule))
    engine = {"pyarrow"} if "read_parquet" in text or "to_parquet" in text else set()
    named = sorted(needed(rule) | engine | BY_NAME.get(rule, set()))
    return "\n".join(
        ["import sys", f"sys.path.insert(0, {str(ROOT / 'src')!r})", *own, *(f"import {n}" for n in named)]
    )


def fault(rule: str, prefix: Path) -> str:
    """What goes wrong when an environment alone has to serve a rule's imports; empty where nothing does."""
    done = subprocess.run([prefix / "bin/python", "-I", "-c", imports(rule)], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""
