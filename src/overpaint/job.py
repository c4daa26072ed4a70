"""The context in which every script runs: log, threads, peak memory, provenance, whole outputs or none."""

import errno
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from overpaint.errors import UserError
from overpaint.provenance import describe_job, sha256, verified, write_record


@contextmanager
def job(snakemake: Any) -> Iterator[SimpleNamespace]:
    """Run a script's body with its output in the rule's log.

    Yields the rule's outputs as paths to write to; they are moved to their places when the body has ended well, with
    the provenance as the output `job`. An input that its own job did not write so is refused. An error leaves nothing
    but the log, and its last line on the terminal.
    """
    start, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    places = {name: Path(path) for name, path in snakemake.output.items()}
    parts = {name: path.parent / f".{path.name}-part" / path.name for name, path in places.items()}
    with log.open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            _set_threads(snakemake.threads)
            for path in parts.values():
                shutil.rmtree(path.parent, ignore_errors=True)  # of a job that was killed
                path.parent.mkdir(parents=True)
            inputs = verified(snakemake.input)
            yield SimpleNamespace(**parts)
            facts = describe_job(snakemake.rule, dict(snakemake.params.items()))
            facts["inputs"] = inputs
            facts["outputs"] = {str(places[name]): sha256(part) for name, part in parts.items() if name != "job"}
            facts |= {"started": started, "seconds": round(time.monotonic() - start, 2), "peak_mb": _peak_mb()}
            write_record(facts, parts["job"])
            for name, part in parts.items():
                os.replace(part, places[name])
            for folder in {part.parent for part in parts.values()}:
                folder.rmdir()
        except BaseException as error:
            for folder in {part.parent for part in parts.values()}:
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # the log may lie on the disk that is full
                print(error) if isinstance(error, UserError) else traceback.print_exc()
            print(f"{snakemake.rule}: {_sentence(error)}  [log: {log}]", file=sys.__stderr__)
            raise SystemExit(1) from error


def _sentence(error: BaseException) -> str:
    """What the terminal says of an error."""
    if isinstance(error, UserError):
        return str(error)
    # Libraries say it in their own ways: safetensors without an error number.
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return "No space is left on the disk: free some and run the study again; nothing half-written was kept."
    return f"{type(error).__name__}: {error}"


def _set_threads(threads: int) -> None:
    """Give torch, where the rule's script has imported it, as many threads as the job has."""
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(threads)


def _peak_mb() -> int:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
