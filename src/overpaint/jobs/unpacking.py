"""Unpack a bundle, which comes from others (standard library only).

Nothing in it is believed but what a job.json in it names, with its hash, and nothing is written but below one folder
and, of the same files, among Snakemake's own records.
"""

import json
import os
import shutil
import subprocess
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.jobs.job import part_folder, remove_leftovers
from overpaint.jobs.provenance import MARK, RECORD, git, outputs_of, parse_record, sha256
from overpaint.jobs.telling import counted

METADATA = Path(".snakemake/metadata")
LONGEST_NAME = 254  # of a file of metadata; Snakemake cuts longer ones into folders
RESULTS = Path("results")
# More is no bundle: the default study has 900 files, and its largest record 60 kB.
MOST_FILES, LARGEST_RECORD = 1_000_000, 1 << 26
# What Snakemake reads in a record of its own, and of which type where it is not null; lists and the dict are of texts.
SNAKEMAKES = {
    "rule": str, "shellcmd": str, "code": str, "conda_env": str, "container_img_url": str, "software_stack_hash": str,
    "external_jobid": str, "input": list, "log": list, "params": list, "input_checksums": dict, "incomplete": bool,
    "record_format_version": int, "job_hash": int, "starttime": float, "endtime": float,
}  # fmt: skip

Members = dict[Path, tarfile.TarInfo]
Records = dict[Path, dict[str, Any]]
Outputs = dict[Path, tuple[str, str]]  # hash and rule


def unpack(bundle: Path, folder: Path = RESULTS) -> list[Path]:
    """Put the outputs of a bundle in their places below `folder`, once each was found to be what its job.json says.

    A file that is here already may be the same one; another one is refused. Where anything is wrong, nothing is put in.
    """
    _check_folder(folder)
    if not bundle.is_file():
        raise UserError(f"There is no file {bundle}: name one that `make pack` wrote.")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    part = part_folder(folder / "bundle")
    try:
        with _opened(bundle) as tar:
            members = _members(tar, folder)
            records = _read_records(tar, members)
            outputs = _named(tar, records, members, folder)
            _check_metadata(tar, records, outputs, members)
            _check_places(bundle, outputs, members)
            _check_links(folder, [*(path for path in outputs if not path.exists()), *records])
            _check_room(folder, members)
            remove_leftovers(folder / "bundle")
            for path, member in counted(members.items(), "unpacked"):
                _extract(tar, member, _staged(part, path))
        for path, (digest, rule) in counted(outputs.items(), "verified"):
            if sha256(_staged(part, path)) != digest:
                raise UserError(f"{path} is not what {rule} wrote: copy {bundle} again, or pack the study again.")
        _put(part, (path for path in outputs if not path.exists()))
        _put(part, filter(_is_metadata, members))
        _put(part, records)  # last: without it Snakemake makes an output anew
        return list(outputs)
    except OSError as error:
        raise UserError(f"{bundle} cannot be unpacked into {folder} ({error}): change that and try again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for path in missing:
            with suppress(OSError):  # what was put there stays
                path.rmdir()


def metadata(path: Path) -> Path:
    """Where Snakemake keeps its record of an output."""
    name = urlsafe_b64encode(os.fsencode(path)).decode()
    parts = [name[start : start + LONGEST_NAME] for start in range(0, len(name), LONGEST_NAME)]
    return METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def hidden(path: Path) -> bool:
    """Whether a file, or a folder that it is in, has a name that begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


def _check_folder(folder: Path) -> None:
    """Refuse to unpack where anything but results is kept."""
    here = Path.cwd()
    for path in (Path(os.path.abspath(folder)), folder.resolve()):
        own = path.relative_to(here) if path.is_relative_to(here) else Path()
        other = hidden(folder) or hidden(own) or (own.parts and _tracked(own.parts[0]))  # "..", too, begins with a dot
        if other or here.is_relative_to(path):
            raise UserError(
                f"Nothing is unpacked into {folder}, where other things than results may be: name the output folder of "
                f"a study, such as {RESULTS}."
            )


def _tracked(name: str) -> bool:
    """Whether git has something of this name in the checkout; where there is no git, nothing is known of it."""
    try:
        return bool(git("ls-files", "--", name))
    except (OSError, subprocess.SubprocessError):
        return False


@contextmanager
def _opened(bundle: Path) -> Iterator[tarfile.TarFile]:
    """A bundle to read. Raises UserError for one that is cut short, compressed or damaged."""
    try:
        with tarfile.open(bundle, "r:") as tar:  # plain, as `pack` writes it: what is in it is no larger than it
            yield tar
    # What tarfile raises of headers that are no headers.
    except (tarfile.TarError, EOFError, ValueError, LookupError, ArithmeticError, RecursionError, MemoryError) as error:
        raise UserError(f"{bundle} cannot be read as a plain tar ({error}): copy it again.") from error


def _members(tar: tarfile.TarFile, folder: Path) -> Members:
    """{place: file} of a tar; what is no plain file, or belongs neither below `folder` nor to Snakemake, is refused."""
    members: Members = {}
    folders: dict[Path, str] = {}
    size = Path(tar.name).stat().st_size
    for number, member in enumerate(tar):
        path = _place(member.name, folder)
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse() and member.size >= 0
        if number == MOST_FILES:
            raise _refusal(tar, member.name, f"after {MOST_FILES} other files")
        if member.offset_data + member.size > size:
            raise EOFError("it is cut short")
        if member.isdir() and not member.size:
            folders[Path(member.name)] = member.name
        elif not plain or not 0 <= member.mtime < 2**33 or path is None or path in members:
            raise _refusal(tar, member.name, f"which is no plain file below {folder}, the output of STUDY")
        else:
            members[path] = member
    inner = {parent for member in members.values() for parent in Path(member.name).parents}
    for name in [name for path, name in folders.items() if path not in inner]:
        raise _refusal(tar, name, "a folder without results")
    for path in members:
        if not members.keys().isdisjoint(path.parents):
            raise _refusal(tar, members[path].name, "which is in a file")
    return members


def _place(name: str, folder: Path) -> Path | None:
    """Where a file of a tar belongs, below `folder` or in Snakemake's records; a tar has no absolute names."""
    path, root = Path(name), folder.relative_to(folder.anchor)
    if path.is_absolute() or ".." in path.parts or not name.isprintable():
        return None
    if _is_metadata(path):
        return path
    return folder / path.relative_to(root) if path.is_relative_to(root) and path != root else None


def _is_metadata(path: Path) -> bool:
    return path.is_relative_to(METADATA)


def _refusal(tar: tarfile.TarFile, name: str, why: str) -> UserError:
    """The sentence for a file of a tar; its name may be anything, and is told as a terminal can show it."""
    shown = repr(name) if len(name) <= 200 else f"{name[:200]!r}..."
    return UserError(f"{tar.name} holds {shown}, {why}: nothing of it was unpacked; pack the study again.")


def _read_records(tar: tarfile.TarFile, members: Members) -> Records:
    """The job.json files of a bundle."""
    jobs = [path for path in members if path.name.endswith(RECORD) and not _is_metadata(path)]
    return {path: parse_record(_content(tar, members[path]), f"{path} in {tar.name}") for path in jobs}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """A record in a tar."""
    if member.size > LARGEST_RECORD:
        raise _refusal(tar, member.name, "which is too large for a record")
    return tar.extractfile(member).read()


def _named(tar: tarfile.TarFile, records: Records, members: Members, folder: Path) -> Outputs:
    """The outputs that the records of a bundle name; each of its files must belong to one of them."""
    there = set(members) | {parent for path in members for parent in path.parents}
    outputs: Outputs = {}
    for job, record in records.items():
        for name in record["outputs"]:
            if ".." in Path(name).parts or (Path(name).is_absolute() and not folder.is_absolute()):
                raise _refusal(tar, name, f"as an output in {job}, which is none below {folder}")
        for path, digest in outputs_of(job, record, folder, there.__contains__).items():
            if path not in there:
                raise _refusal(tar, str(job), f"but not {str(path)!r}, which is named there")
            if path in outputs or path in records:
                raise _refusal(tar, str(path), "which is named twice")
            if hidden(path.relative_to(folder)) or hidden(job.relative_to(folder)):
                raise _refusal(tar, str(path), "which no job makes")
            outputs[path] = digest, record["rule"]
    if not outputs:
        raise UserError(f"{tar.name} holds no results: name a file that `make pack` wrote.")
    for path, member in members.items():
        owners = [own for own in (path, *path.parents) if own in outputs or own in records]
        marked = path.name == MARK and member.size  # a mark is empty, and no part of a hash
        if not _is_metadata(path) and (len(owners) != 1 or marked):
            raise _refusal(tar, member.name, "which no job.json in it names")
    return outputs


def _check_metadata(tar: tarfile.TarFile, records: Records, outputs: Outputs, members: Members) -> None:
    """Refuse records of Snakemake that are not of the files of this bundle, or are none; it only compares with them."""
    rules = {metadata(path): rule for path, (_, rule) in outputs.items()}
    rules |= {metadata(job): record["rule"] for job, record in records.items()}
    for path, member in members.items():
        if _is_metadata(path) and not (path in rules and _is_snakemakes(_content(tar, member), rules[path])):
            raise _refusal(tar, member.name, "which is no record of Snakemake's of what is in it")


def _is_snakemakes(content: bytes, rule: str) -> bool:
    """Whether Snakemake can read a record of its own, and it is of that rule."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict) or record.get("rule") != rule:
        return False
    kept = {key: record[key] for key in SNAKEMAKES if record.get(key) is not None}
    if "record_format_version" not in kept or not all(isinstance(kept[key], SNAKEMAKES[key]) for key in kept):
        return False
    inner = [text for key in ("input", "log", "params") for text in kept.get(key, [])]
    return all(isinstance(text, str) for text in [*inner, *kept.get("input_checksums", {}).values()])


def _check_places(bundle: Path, outputs: Outputs, members: Members) -> None:
    """Refuse what would take the place of something else that is here."""
    for path, (digest, _) in outputs.items():
        if path.exists() and sha256(path) != digest:
            raise UserError(f"{path} is here already and differs from the one in {bundle}: move it away first.")
    for path in members:
        wrong = path if path.is_dir() else next((up for up in path.parents if up.exists() and not up.is_dir()), None)
        if wrong:
            raise UserError(f"{wrong} is here already, for {path} of {bundle}: move it away first.")


def _check_links(folder: Path, paths: list[Path]) -> None:
    """Refuse to put files where a link below `folder` leads, which may itself be a link, as to another disk."""
    for path in paths:
        for up in path.parents[: len(path.relative_to(folder).parts) - 1]:
            if up.is_symlink():
                raise UserError(
                    f"{up} is a link to {os.readlink(up)}, and nothing is put where a link below {folder} leads: put a "
                    "folder in its place or, where a study's output is the link, name that study as STUDY."
                )


def _check_room(folder: Path, members: Members) -> None:
    """Refuse what the disk has no room for."""
    wanted = sum(member.size for member in members.values())
    around = folder.absolute()
    free = shutil.disk_usage(next(path for path in (around, *around.parents) if path.exists())).free
    if wanted > free:
        raise UserError(f"Unpacked it takes {wanted / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free: free some first.")


def _staged(part: Path, path: Path) -> Path:
    """Where a file waits until all of them were verified."""
    return part / path.relative_to(path.anchor)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write a file of a tar, with its time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(tar.extractfile(member), file)
    if target.stat().st_size != member.size:
        raise EOFError("it ends early")
    os.utime(target, (member.mtime, member.mtime))


def _put(part: Path, paths: Iterable[Path]) -> None:
    """Move what was verified to its place, which may be on another disk."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        shutil.move(_staged(part, path), path)
