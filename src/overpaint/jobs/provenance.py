"""What a job ran on and with, and what it wrote: its job.json, by which others know its files (stdlib only)."""

import hashlib
import json
import os
import platform
import re
import site
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from overpaint.errors import UserError

ROOT = Path(__file__).parents[3]
RECORD = ".job.json"
MARK = ".snakemake_timestamp"  # by which Snakemake knows how old a folder is
GIT_SECONDS = 10  # a git that is slower, on a disk far away, is done without
PIECES, PIECE = 256, 1 << 18  # of a file that `sketch` reads: a file of up to 64 MB as a whole
GIVEN: dict[str, Any] = {}  # what the running job is told of how to use the hardware
NOTED: dict[str, Any] = {}  # what the running job's work says of how it uses the hardware


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
    path.write_text(_text(facts | {"sha256": _digest(facts)}) + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """What `write_record` wrote; a job.json that is damaged is one sentence."""
    try:
        return parse_record(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}): delete it and run the study again.") from error


def parse_record(content: bytes, name: str) -> dict[str, Any]:
    """The record in the bytes of a job.json called `name`, which has what the readers of records count on."""
    try:
        facts = json.loads(content.decode())
        own = facts.pop("sha256")
        changed = own != _digest(facts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{name} cannot be read ({error}): delete it and run the study again.") from error
    if changed:
        raise UserError(f"{name} was changed after its job wrote it: delete it and run the study again.")
    rule, inputs, outputs = (facts.get(key) for key in ("rule", "inputs", "outputs"))
    if not (isinstance(rule, str) and rule.isidentifier() and _hashes(inputs) and _hashes(outputs)):
        raise UserError(f"{name} is no job.json, for it lacks a rule, inputs or outputs: delete it and run again.")
    return facts


def _hashes(value: Any) -> bool:
    """Whether a value of a record is {file: hash}; JSON's keys are text."""
    if not isinstance(value, dict):
        return False
    return all(Path(name).name and "\0" not in name and isinstance(found, str) for name, found in value.items())


def verified(paths: Iterable[str]) -> dict[str, str]:
    """{path: hash} of a job's inputs; one that differs from what the job that made it recorded is refused.

    The record is the job.json beside the file. Files of the user's own have none: of these, as of all others, one is
    refused that was another one when it was read for what else this job reads.
    """
    hashes = {path: sha256(Path(path)) for path in paths}
    for path, digest in hashes.items():
        for record in _records(Path(path).parent).values():
            if _made(record).get(Path(path).name, digest) != digest:
                raise UserError(
                    f"{path} is not what {record['rule']} wrote there (cut short, damaged or replaced): delete it and "
                    "run the study again."
                )
        if path.endswith(RECORD):
            _check_record(Path(path), hashes)
    check_ancestry(hashes)
    return hashes


def check_ancestry(hashes: dict[str, str]) -> None:
    """Refuse files, {path: hash}, that were not all made from the same ones.

    The jobs that made them, and those that made what these read, at any remove, must have read one content of each file
    and folder: a model that was replaced in its place between two jobs is told so.
    """
    read: dict[str, tuple[str, Path | None]] = {path: (digest, None) for path, digest in hashes.items()}
    waiting, seen = list(hashes.items()), set()
    while waiting:
        path, digest = waiting.pop()
        for job, record in _records(Path(path).parent).items():
            if job in seen or _made(record).get(Path(path).name) != digest:
                continue
            seen.add(job)
            for name, found in record["inputs"].items():
                before, other = read.setdefault(name, (found, job))
                if before != found:
                    raise UserError(_replaced(name, job, other))
                waiting.append((name, found))


def _replaced(name: str, job: Path, other: Path | None) -> str:
    """The sentence for a file that was one when `job` ran, and another one when `other` did, or is one now."""
    if other:
        return (
            f"{name!r} was replaced between the jobs of {other} and {job}: delete both with what these jobs made, and "
            "run the study again."
        )
    return (
        f"{name!r} is not what it was for {job}: put that back, or delete {job} with what its job made, and run the "
        "study again."
    )


def outputs_of(
    job: Path, record: dict[str, Any], root: Path, exists: Callable[[Path], bool] = Path.exists
) -> dict[Path, str]:
    """{output: hash} of the job.json at `job`, below `root`.

    Outputs are beside it, wherever that was moved to, or one folder up, as figures are.
    """
    found = {}
    for name, digest in record["outputs"].items():
        places = [folder / Path(name).name for folder in (job.parent, job.parent.parent)]
        found[next((path for path in places if path.is_relative_to(root) and exists(path)), places[0])] = digest
    return found


def _check_record(path: Path, hashes: dict[str, str]) -> None:
    """Refuse a job.json of other files than those beside it."""
    for name, digest in _made(read_record(path)).items():
        file = path.with_name(name)
        if file.exists() and (hashes.get(str(file)) or sha256(file)) != digest:
            raise UserError(
                f"{path} and {file} do not belong together (one was damaged or replaced): delete both and run the "
                "study again."
            )


def _made(record: dict[str, Any]) -> dict[str, str]:
    """{name: hash} of what a job wrote; its folder may be called otherwise by now."""
    return {Path(path).name: digest for path, digest in record["outputs"].items()}


@cache
def _records(folder: Path) -> dict[Path, dict[str, Any]]:
    found = {}
    for path in sorted(folder.glob(f"*{RECORD}")):
        with suppress(FileNotFoundError):  # of a job beside this one, which has just started anew
            found[path] = parse_record(path.read_bytes(), str(path))
    return found


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, sort_keys=True)


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(_text(facts).encode()).hexdigest()


def packages() -> dict[str, str]:
    """Versions of this environment's own packages; Snakemake appends its own folder of packages to `sys.path`."""
    named = {}
    for found in distributions(path=site.getsitepackages()):
        with suppress(TypeError, FileNotFoundError):  # pip that was killed leaves folders without metadata
            facts = found.metadata  # read anew whenever asked for
            named[facts.get("Name")] = facts.get("Version")
    named.pop(None, None)
    return dict(sorted(named.items(), key=lambda pair: pair[0].lower()))


def git_state() -> dict[str, Any]:
    """Revision of the checkout and whether tracked files differ from it; both None outside git, or where it fails.

    A checkout that was unpacked inside another repository is not asked for that one's.
    """
    try:
        revision = git("rev-parse", "HEAD")
        return {"git": revision, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"git": None, "dirty": None}


def hardware() -> dict[str, Any]:
    """Processor, cores and, where torch is loaded, how it computes and the accelerator that it sees."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    known = {"machine": platform.machine(), "system": platform.system(), "processor": processor()}
    return known | {"cores": os.cpu_count(), "gpu": gpu} | (arithmetic(torch) if torch else {})


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name with its family and model, which tell apart those that share a name, as `AMD EPYC`."""
    try:
        first = cpuinfo.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return platform.processor()
    facts = dict(re.findall(r"^(model name|cpu family|model)[ \t]*: (.+)$", first, re.MULTILINE))
    if len(facts) < 3:
        return facts.get("model name") or platform.processor()
    return "{model name}, family {cpu family}, model {model}".format(**facts)


def arithmetic(torch: ModuleType) -> dict[str, Any]:
    """What decides how torch rounds: the instruction sets of ATen and of MKL, the library of matrix products, threads.

    MKL chooses its own instructions, and does not say which, unless one of two variables names them.
    """
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    chosen = (os.environ.get(name) for name in ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"))
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "blas": blas[1] if blas else None,
        "mkl_branch": next(filter(None, chosen), "its own choice") if torch.backends.mkl.is_available() else None,
        "threads": torch.get_num_threads(),
    }


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


@cache
def sketch(name: str) -> str | None:
    """Hash of names, sizes and up to 64 MB of each file of a file or folder, or None where there is none.

    It is cheap enough for planning, and tells a model that was saved anew in its place from the one before; what it
    leaves out, `sha256` reads before a job starts.
    """
    path, digest = Path(name), hashlib.sha256()
    if not path.exists():
        return None
    for found in files_below(path) if path.is_dir() else [path]:
        size = found.stat().st_size
        digest.update(os.fsencode(f"{found.relative_to(path)} {size}\n"))
        with found.open("rb") as file:
            for number in range(min(PIECES, -(-size // PIECE))):
                file.seek(max(number * PIECE, number * (size - PIECE) // (PIECES - 1)))
                digest.update(file.read(PIECE))
    return digest.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder but Snakemake's mark, sorted; its cache may give folders in it as links.

    A link to nothing is no file, nor is a pipe, at which a reader would wait.
    """
    found = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(path for path in found if path.name != MARK and path.is_file())


def git(*arguments: str) -> str:
    """What git says of this checkout, never of a repository around it; it fails as `subprocess.run` does."""
    own = [f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}", "--no-optional-locks"]  # never waits for another git
    said = subprocess.run(["git", *own, *arguments], check=True, capture_output=True, timeout=GIT_SECONDS, cwd=ROOT)
    return said.stdout.decode(errors="replace").strip()
