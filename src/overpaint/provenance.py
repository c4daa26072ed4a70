"""What a job ran on and with, and what it wrote: its job.json, by which others know its files (stdlib only)."""

import hashlib
import json
import os
import platform
import site
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from overpaint.errors import UserError

ROOT = Path(__file__).parents[2]
RECORD = ".job.json"


def describe_job(rule: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Git revision, interpreter, packages, hardware, cluster job and settings of the running job."""
    return {
        "rule": rule,
        **git_state(),
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "packages": packages(),
        "hardware": hardware(),
        "cluster_job": cluster_job(),
        "settings": settings,
    }


def write_record(facts: dict[str, Any], path: Path) -> None:
    """Write a job.json with a hash of its own content."""
    facts = json.loads(json.dumps(facts, default=str))  # keys as they will be read
    path.write_text(_text(facts | {"sha256": _digest(facts)}) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """What `write_record` wrote; a job.json that is damaged is one sentence."""
    try:
        facts = json.loads(path.read_text())
        own = facts.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}): delete it and run the study again.") from error
    if own != _digest(facts):
        raise UserError(f"{path} was changed after its job wrote it: delete it and run the study again.")
    return facts


def verified(paths: Iterable[str]) -> dict[str, str]:
    """{path: hash} of a job's inputs; one that differs from what the job that made it recorded is refused.

    The record is the job.json beside the file. Files of the user's own have none.
    """
    hashes = {path: sha256(Path(path)) for path in paths}
    for path, digest in hashes.items():
        if path.endswith(RECORD):
            read_record(Path(path))
        for record in _records(Path(path).parent):
            outputs = {Path(name).name: value for name, value in record["outputs"].items()}
            if outputs.get(Path(path).name, digest) != digest:
                raise UserError(
                    f"{path} is not what {record['rule']} wrote there (cut short, damaged or replaced): delete it and "
                    "run the study again."
                )
    return hashes


@cache
def _records(folder: Path) -> list[dict[str, Any]]:
    return [read_record(path) for path in sorted(folder.glob(f"*{RECORD}"))]


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, sort_keys=True)


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(_text(facts).encode()).hexdigest()


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


def cluster_job() -> str | None:
    """Number of the job in the cluster's queue (SLURM, Grid Engine, LSF), None outside one."""
    return next((os.environ[name] for name in ("SLURM_JOB_ID", "JOB_ID", "LSB_JOBID") if name in os.environ), None)


def sha256(path: Path) -> str:
    """Hash of a file, or of the names and contents of a folder's files; Snakemake's mark there does not count."""
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name != ".snakemake_timestamp"]
        parts = [f"{p.relative_to(path)} {sha256(p)}" for p in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
