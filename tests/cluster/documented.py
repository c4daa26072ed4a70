"""The commands of docs/clusters.md, run as they are written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs/clusters.md").read_text(encoding="utf-8")
QUICKSTART, RECOVERY = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# The smoke study, on a SLURM without accounting, and less patience than a network file system and a long queue need.
HERE = [
    "--configfile", "studies/smoke.yaml", "--slurm-status-command", "squeue", "--slurm-no-account",
    "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2", "--latency-wait", "5",
]  # fmt: skip
SLURM = ["--cores", "1", "--workflow-profile", "profiles/slurm", *HERE]


def as_written(commands: str, folder: Path, place: Path, *targets: str) -> subprocess.CompletedProcess:
    """Run commands of the page in a copy; only `snakemake` is that of the tests, and told of HERE."""
    tool = place / "bin/snakemake"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m snakemake "$@" {shlex.join([*HERE, *targets])}\n')
    tool.chmod(0o755)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.removeprefix("source .venv/bin/activate\n")],
        cwd=folder,
        env=os.environ | {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
