"""For `--sdm conda`: conda, and room for the environments that it makes (standard library only)."""

import json
import re
import shlex
import shutil
import subprocess
import tempfile
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
    "scipy": 120,
    "papermill": 100,
    "datasets": 120,
    "pandas": 100,
    "numpy": 80,
    "huggingface_hub": 40,
    "gguf": 40,
}
PYTHON_MB = 80
LINKS_MB = 20  # of an environment whose files are links into the package cache
PATIENCE_S = 60  # that conda has to describe itself; it took 1 to 3
ELSEWHERE = "or leave out `--sdm conda`: `make study` runs everything in .venv"


def check(prefix: Path, files: list[Path]) -> None:
    """Raise UserError where there is no conda, an old one, or no room for what is yet to be made.

    Args:
        prefix: the folder in which Snakemake keeps the environments.
        files: the environment files of the workflow.
    """
    conda, version, cache = _describe_conda()
    if _numbers(version) < _numbers(OLDEST):
        raise UserError(
            f"`--sdm conda` needs conda {OLDEST} or newer, and {conda} is {version}: run `conda update -n base conda` "
            f"or install Miniforge, {ELSEWHERE}."
        )
    if shlex.quote(conda) != conda or set("'\"$`\\\n") & set(str(prefix.absolute())):
        raise UserError(
            f"`--sdm conda` has {conda} and keeps environments in {prefix.absolute()}, and Snakemake puts both into "
            f"commands, where a shell obeys quotes, $ and the like: choose another `--conda-prefix`, {ELSEWHERE}."
        )
    made = _made(prefix)
    texts = [path.read_bytes() for path in files]
    _check_room(prefix, cache, [_packages(t) for t in texts if t not in made], made)


def megabytes(packages: set[str]) -> int:
    """Disk that Python and the packages of an environment take, unpacked."""
    return PYTHON_MB + sum(PACKAGE_MB.get(name, 0) for name in packages)


def _describe_conda() -> tuple[str, str, Path]:
    """conda's own path, its version and its cache of packages, as `conda info` says."""
    conda, command = shutil.which("conda"), "`conda info --json`"
    if not conda:
        raise UserError(f"`--sdm conda` finds no `conda` on the PATH: install Miniforge, {ELSEWHERE}.")
    try:
        with tempfile.TemporaryFile() as said:  # not a pipe, which what a killed conda has started would keep open
            subprocess.run(
                [conda, "info", "--json"], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL, check=True,
                timeout=PATIENCE_S,
            )  # fmt: skip
            said.seek(0)
            info = json.load(said)
        return conda, str(info["conda_version"]), Path(info["pkgs_dirs"][0])
    except subprocess.TimeoutExpired:
        fault = f"{command} does not end in {PATIENCE_S} seconds"
    except (OSError, subprocess.CalledProcessError):
        fault = f"{command} fails"
    except (ValueError, LookupError, TypeError, RecursionError):
        fault = f"{command} says neither its version nor where it keeps packages"
    raise UserError(f"`--sdm conda` cannot use {conda}, whose {fault}: install Miniforge, {ELSEWHERE}.")


def _made(prefix: Path) -> set[bytes]:
    """The files of the environments that are there."""
    try:
        if not (place := _nearest(prefix)).is_dir():
            raise UserError(f"`--conda-prefix` is {prefix}, and {place} is a file: name a folder.")
        return {path.read_bytes() for path in prefix.glob("*.yaml") if path.is_file()}
    except OSError as error:
        raise UserError(f"`--conda-prefix` is {prefix}, which cannot be read ({error.strerror}).") from None


def _check_room(prefix: Path, cache: Path, missing: list[set[str]], made: set[bytes]) -> None:
    """Raise UserError where the missing environments, given by their packages, do not fit."""
    cached = set().union(*map(_packages, made))
    download = megabytes(set().union(*missing) - cached) if missing else 0
    prefix, cache = _nearest(prefix), _nearest(cache)
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


def _packages(text: bytes) -> set[str]:
    """Names of the packages that an environment file lists."""
    return {name.decode() for name in re.findall(rb"^ *- *([A-Za-z0-9_-]+)=", text, re.MULTILINE)}


def _nearest(path: Path) -> Path:
    """The path, or the nearest one above it that is there."""
    return next(place for place in [path, *path.absolute().parents] if place.exists())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
