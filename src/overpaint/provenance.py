"""What a job ran on and with: the content of its job.json (standard library only)."""

import hashlib
import os
import platform
import site
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def describe_job(rule: str, settings: dict[str, Any], inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """Git revision, interpreter, package versions, hardware, settings and input hashes of the running job."""
    return {
        "rule": rule,
        "outputs": outputs,
        **git_state(),
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "packages": packages(),
        "hardware": hardware(),
        "settings": settings,
        "inputs": {path: sha256(Path(path)) for path in inputs},
    }


def packages() -> dict[str, str]:
    """Versions of this environment's own packages; Snakemake appends its own folder of packages to `sys.path`."""
    own = distributions(path=site.getsitepackages())
    return {found.name: found.version for found in sorted(own, key=lambda found: found.name.lower())}


def git_state() -> dict[str, Any]:
    """Revision of the checkout and whether tracked files differ from it; both None outside git."""
    try:
        revision = _git("rev-parse", "HEAD")
        return {"git": revision, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"git": None, "dirty": None}


def hardware() -> dict[str, Any]:
    """Processor, cores and, where torch is loaded and sees one, the accelerator."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count(), "gpu": gpu}


def sha256(path: Path) -> str:
    """Hash of a file, or of the names and contents of all files in a folder."""
    if path.is_dir():
        parts = [f"{p.relative_to(path)} {sha256(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
