"""A real conda, and a channel on disk that serves envs/*.yaml under conda-forge's name, both from Python packages.

The `conda-lock` wheel carries a whole conda; `build` completes it. With its folder `bin` on the PATH,
`snakemake --sdm conda` runs as it would with conda-forge, without reaching any channel.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = [Path(__file__), HERE / "local_channel.py", HERE / "requirements.txt", ROOT / "constraints.txt"]
DAYS_KEPT = 3

# conda's probe for CUDA spawns a process, which needs the guard.
LAUNCHER = """\
#!{base}/bin/python
import sys

from conda.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""
# The shell half of conda, which conda-lock leaves out.
CONDA_SH = """\
conda() {
  case "$1" in
    activate|deactivate) eval "$("$CONDA_EXE" shell.posix "$@")" ;;
    *) "$CONDA_EXE" "$@" ;;
  esac
}
"""
# Snakemake sources bin/activate; that of a venv would ignore the environment's name without a word.
ACTIVATE = """\
eval "$({base}/bin/conda shell.posix activate "$@")"
"""
CONDARC = """\
channel_alias: file://{home}/channels
default_channels: []
channel_priority: strict
solver: classic
offline: true
register_envs: false
pkgs_dirs: [{home}/pkgs]
envs_dirs: [{home}/envs]
"""


def cache(environments: list[Path]) -> Path:
    """Folder of what is kept between runs on a machine; another one for every change of what it is made from."""
    state = hashlib.sha256(sys.version.encode() + sys.base_prefix.encode())
    for path in [*SOURCES, *environments]:
        state.update(path.read_bytes())
    top = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(top, "overpaint", "conda", state.hexdigest()[:16])


def build(home: Path, environments: list[Path]) -> Path:
    """Make in `home`, where they are not there, a conda and a channel for the environments; its folder `bin`."""
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home.parent / "lock"):
        os.utime(home)
        _forget_others(home)
        if not (home / "ready").exists():
            shutil.rmtree(home)
            _make_conda(home)
            command = [home / "base/bin/python", HERE / "local_channel.py", home, ROOT / "constraints.txt"]
            path = f"{home / 'base/bin'}{os.pathsep}{os.environ['PATH']}"
            subprocess.run([*command, *environments], check=True, env=os.environ | {"PATH": path})
            _write(home / "ready", "")
    return home / "bin"


def on_path(folder: Path) -> dict[str, str]:
    """Variables with which `conda` is the one in a folder."""
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def environments(folder: Path) -> dict[str, Path]:
    """{rule: the environment that Snakemake has made from its file} in a copy of the checkout."""
    made = {path.read_text(): path.with_suffix("") for path in (folder / ".snakemake/conda").glob("*.yaml")}
    return {path.stem: made[text] for path in folder.glob("envs/*.yaml") if (text := path.read_text()) in made}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _forget_others(home: Path) -> None:
    """Remove what no run of the last days has used."""
    for folder in home.parent.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < time.time() - DAYS_KEPT * 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)


def _make_conda(home: Path) -> None:
    """A virtual environment in which the conda of conda-lock works as if it had been installed."""
    base = home / "base"
    subprocess.run([sys.executable, "-m", "venv", base], check=True)
    pip = [base / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--requirement", HERE / "requirements.txt"], check=True)
    site = base / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (site / "conda").symlink_to("conda_lock/_vendor/conda")
    _write(site / "conda/shell/etc/profile.d/conda.sh", CONDA_SH)
    _write(base / "bin/conda", LAUNCHER.format(base=base)).chmod(0o755)
    _write(base / "bin/activate", ACTIVATE.format(base=base))
    _write(base / ".condarc", CONDARC.format(home=home))
    (home / "bin").mkdir()
    (home / "bin/conda").symlink_to("../base/bin/conda")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
