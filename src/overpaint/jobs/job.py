"""The context in which every script runs: log, threads, what it cost, provenance, whole outputs or none."""

import errno
import glob
import os
import resource
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

from overpaint.errors import UserError
from overpaint.jobs.provenance import GIVEN, NOTED, describe_job, sha256, verified, write_record


@contextmanager
def job(snakemake: Any) -> Iterator[SimpleNamespace]:
    """Run a script's body with its output in the rule's log.

    Yields the rule's outputs as paths to write to; they are moved to their places when the body has ended well, with
    the provenance as the output `job`. An input that its own job did not write so is refused. An error leaves nothing
    but the log, and its last line on the terminal.
    """
    start, startup, started = time.monotonic(), _cpu_seconds(), datetime.now(UTC).isoformat(timespec="seconds")
    places = {name: Path(path) for name, path in snakemake.output.items()}
    parts = {name: part_folder(path) / path.name for name, path in places.items()}
    log = Path(snakemake.log[0])
    with _opened(log, snakemake.rule) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            NOTED.clear()
            GIVEN.clear()
            GIVEN["residency"] = getattr(getattr(snakemake, "resources", None), "residency", "whole")
            _set_threads(snakemake.threads)
            for part, place in zip(parts.values(), places.values(), strict=True):
                remove_leftovers(place)
                part.parent.mkdir(parents=True)
            # All that can fail comes before the body: hours of work are not lost to it.
            facts = describe_job(snakemake.rule, dict(snakemake.params.items())) | {"started": started}
            facts["inputs"] = verified(snakemake.input)
            yield SimpleNamespace(**parts)
            facts["outputs"] = {str(places[name]): sha256(part) for name, part in parts.items() if name != "job"}
            facts["hardware"] |= NOTED
            facts |= {"seconds": round(time.monotonic() - start, 2), "peak_mb": _peak_mb()}
            facts |= {"cpu_seconds": _cpu_seconds(), "startup_cpu_seconds": startup}
            write_record(facts, parts["job"])
            for name, part in parts.items():
                if places[name].is_dir():
                    shutil.rmtree(places[name])  # which an orphan has put there meanwhile
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


def part_folder(path: Path) -> Path:
    """Where this process writes what is to stand at `path`: beside it, in a folder that no other process uses."""
    return path.with_name(f".{path.name}-{socket.gethostname()}-{os.getpid()}-part")


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left half-written of `path`.

    A process of this machine that still runs keeps its own, an orphan of a Snakemake that was killed. Whether one of
    another machine runs cannot be known: it loses its part, ends with an error, and puts nothing in place.
    """
    for found in path.parent.glob(f".{glob.escape(path.name)}-*-part"):
        host, _, process = found.name.removeprefix(f".{path.name}-").removesuffix("-part").rpartition("-")
        if host != socket.gethostname() or not (process.isdecimal() and _runs(int(process))):
            shutil.rmtree(found, ignore_errors=True)


def remove_saved(path: Path) -> None:
    """Remove what a training saved at `path` to go on from, and what it left half-written beside it."""
    path.unlink(missing_ok=True)
    shutil.rmtree(part_folder(path), ignore_errors=True)
    remove_leftovers(path)


@contextmanager
def resumable(output: str) -> Iterator[Path]:
    """Where a training that makes `output` saves what it needs to go on; removed when its job has put all in place."""
    path = Path(output).with_name("resume.safetensors")
    yield path
    remove_saved(path)


def _runs(process: int) -> bool:
    """Whether another process of this machine has this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return process != os.getpid()


@contextmanager
def _opened(log: Path, rule: str) -> Iterator[TextIO]:
    """The log to write to; one that cannot be opened is one sentence."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        print(f"{rule}: {_sentence(error)}", file=sys.__stderr__)
        raise SystemExit(1) from error
    with file:
        yield file


def _sentence(error: BaseException) -> str:
    """What the terminal says of an error."""
    if isinstance(error, UserError):
        return str(error)
    # Libraries say it in their own ways: safetensors without an error number.
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return "No space is left on the disk: free some and run the study again; nothing half-written was kept."
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return f"{error.filename} may not be written or read by you ({error.strerror}): change that and run again."
    return f"{type(error).__name__}: {error}"


def _set_threads(threads: int) -> None:
    """Give torch, where the rule's script has imported it, as many threads as the job has."""
    torch = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(threads)


def _cpu_seconds() -> float:
    """Processor time of this process and of those it waited for, in seconds."""
    return round(sum(os.times()[:4]), 2)


def _peak_mb() -> int:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
