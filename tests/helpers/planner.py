"""Dry runs by a Snakemake that is imported once: `python planner.py` forks for each that it is asked for.

The imports, which a start of Snakemake pays anew, are half of what a dry run of the smoke study takes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Planner:
    """Plans one at a time, each in a process of its own, as `python -m snakemake` in a folder would."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def plan(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
        """A dry run on two cores in a folder; what it says is `stdout`."""
        command = ["--cores", "2", "--dry-run", *arguments]
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
            asked = {"folder": str(folder), "said": said.name, "arguments": command}
            print(json.dumps(asked), file=self._process.stdin, flush=True)
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(command, status, said.read())


@contextmanager
def started() -> Iterator[Planner]:
    """A planner, until the context ends."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, __file__]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Planner(process)
        process.stdin.close()


def _serve() -> None:
    """Answer each line of the standard input with the exit status of the Snakemake that it asks for."""
    import pandas  # noqa: F401 -- the plan of a finished study imports these, and they take half of its time
    import snakemake.cli
    import snakemake.report.html_reporter  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.chdir(asked["folder"])
        file = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv[1:] = asked["arguments"]
        snakemake.cli.main()  # which ends the process


if __name__ == "__main__":
    sys.path[0] = ""
    _serve()
