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
        for record in _records(Path(path).parent):
            if _made(record).get(Path(path).name, digest) != digest:
                raise UserError(
                    f"{path} is not what {record['rule']} wrote there (cut short, damaged or replaced): delete it and "
                    "run the study again."
                )
        if path.endswith(RECORD):
            _check_record(Path(path), hashes)
    return hashes


def _check_record(path: Path, hashes: dict[str, str]) -> None:
    """Refuse a job.json of other files than those beside it."""
    for name, digest in _made(read_record(path)).items():
        file = path.with_name(name)
        if file.is_file() and (hashes.get(str(file)) or sha256(file)) != digest:
            raise UserError(
                f"{path} and {file} do not belong together (one was damaged or replaced): delete both and run the "
                "study again."
            )


def _made(record: dict[str, Any]) -> dict[str, str]:
    """{name: hash} of what a job wrote; its folder may be called otherwise by now."""
    return {Path(path).name: digest for path, digest in record["outputs"].items()}


@cache
def _records(folder: Path) -> list[dict[str, Any]]:
    return [read_record(path) for path in sorted(folder.glob(f"*{RECORD}"))]


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, sort_keys=True)


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(_text(facts).encode()).hexdigest()


def packages() -> dict[str, str]:
    """Versions of this environment's own packages; Snakemake appends its own folder of packages to `sys.path`."""
    own = (found.metadata for found in distributions(path=site.getsitepackages()))  # read anew whenever asked for
    return dict(sorted(((found["Name"], found["Version"]) for found in own), key=lambda pair: pair[0].lower()))


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
        parts = [f"{p.relative_to(path)} {sha256(p)}" for p in files_below(path)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder but Snakemake's mark, sorted; its cache may give folders in it as links."""
    found = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if path.name != ".snakemake_timestamp")


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
