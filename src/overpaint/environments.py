"""What `--sdm conda` needs, checked before any job: conda, and room for what it makes (standard library only)."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from overpaint.errors import UserError

OLDEST = "24.7.1"  # Snakemake 9 drives no older conda
# MB on disk, unpacked, that a package with all that it brings adds to an environment; the others are small.
PACKAGE_MB = {
    "pytorch": 1000,  # without CUDA
    "lm_eval": 400,
    "matplotlib-base": 180,
    "pyarrow": 180,
    "transformers": 180,
    "papermill": 100,
    "datasets": 120,
    "pandas": 100,
    "numpy": 80,
    "huggingface_hub": 40,
    "gguf": 40,
}
PYTHON_MB = 80
LINKS_MB = 20  # of an environment whose files are links into the package cache
ELSEWHERE = "or leave out `--sdm conda`: `make study` runs everything in .venv"


def check(prefix: Path, files: list[Path]) -> None:
    """Raise UserError, one sentence, where there is no conda, an old one, or no room for what is yet to be made.

    Args:
        prefix: the folder in which Snakemake keeps the environments.
        files: the environment files of the workflow.
    """
    info = _describe_conda()
    if _numbers(info["conda_version"]) < _numbers(OLDEST):
        raise UserError(
            f"`--sdm conda` needs conda {OLDEST} or newer, and {shutil.which('conda')} is {info['conda_version']}: "
            f"run `conda update -n base conda` or install Miniforge, {ELSEWHERE}."
        )
    made = {path.read_text(encoding="utf-8") for path in prefix.glob("*.yaml")}
    texts = [path.read_text(encoding="utf-8") for path in files]
    _check_room(prefix, Path(info["pkgs_dirs"][0]), [_packages(t) for t in texts if t not in made], made)


def megabytes(packages: set[str]) -> int:
    """Disk that Python and the packages of an environment take, unpacked."""
    return PYTHON_MB + sum(PACKAGE_MB.get(name, 0) for name in packages)


def _describe_conda() -> dict:
    """What `conda info` says."""
    try:
        done = subprocess.run(["conda", "info", "--json"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    except FileNotFoundError:
        fault = "finds no `conda` on the PATH"
    except (subprocess.CalledProcessError, json.JSONDecodeError):
        fault = f"cannot use {shutil.which('conda')}, whose `conda info --json` fails"
    raise UserError(f"`--sdm conda` {fault}: install Miniforge, {ELSEWHERE}.")


def _check_room(prefix: Path, cache: Path, missing: list[set[str]], made: set[str]) -> None:
    """Raise UserError where the missing environments, given by their packages, do not fit."""
    cached = set().union(*map(_packages, made))
    download = megabytes(set().union(*missing) - cached) if missing else 0
    prefix, cache = _existing(prefix), _existing(cache)
    if prefix.stat().st_dev == cache.stat().st_dev:
        needs = {prefix: download + LINKS_MB * len(missing)}
    else:
        needs = {prefix: sum(map(megabytes, missing)), cache: download}
    for folder, needed in needs.items():
        free = shutil.disk_usage(folder).free // 10**6
        if free < needed:
            raise UserError(
                f"The conda environments need about {needed / 1000:.1f} GB in {folder}, where {free / 1000:.1f} GB are "
                "free: make room, or choose other folders with `--conda-prefix` and CONDA_PKGS_DIRS."
            )


def _packages(text: str) -> set[str]:
    """Names of the packages that an environment file lists."""
    return set(re.findall(r"^ *- *([\w-]+)=", text, re.MULTILINE))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in [folder, *folder.absolute().parents] if path.is_dir())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
