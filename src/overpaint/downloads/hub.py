"""Fetch a model or a data set of the Hugging Face hub at one commit: every file checked, all of them or none.

huggingface_hub knows the hub (HF_ENDPOINT), the user's token (HF_TOKEN) and cache (HF_HOME) and what the hub's answers
mean. The bytes are received here, since its own downloads begin a file anew that was cut off.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_session, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from overpaint.downloads.address import hub_address
from overpaint.downloads.listing import File, fault_of
from overpaint.errors import UserError
from overpaint.jobs.telling import Telling

TRIES = 3  # in a row that bring nothing new
PAUSE_S = 2.0  # before the second try, doubled before the third
# What a model is loaded from: never pickles (.bin, .pt) and never code (.py).
MODEL_FILES = (
    "model*.safetensors", "model*.safetensors.index.json", "config*.json", "generation_config.json", "tokenizer*.json",
    "*.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
NEEDED_FILES = ("model*.safetensors", "config.json")

Answer = TypeVar("Answer")


class _Damaged(Exception):
    """A file did not arrive as the hub describes it."""


@dataclass(frozen=True)
class Source:
    """A repository at one commit.

    kind: `model` or `dataset`.
    revision: 40 hexadecimal digits.
    endpoint: the hub's address.
    """

    kind: str
    repo: str
    revision: str
    endpoint: str

    @property
    def page(self) -> str:
        """Where a person reads about the repository; without a password that the endpoint may hold."""
        parts = urlsplit(self.endpoint)
        host = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return f"{host}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"


def download_model(repo: str, revision: str, target: Path, work: Path, endpoint: str | None = None) -> None:
    """Write the safetensors weights, tokenizer and configuration of a model to the folder `target`.

    Args:
        repo: `owner/name`.
        revision: the commit, 40 hexadecimal digits.
        target: a folder that does not exist yet; written whole or not at all.
        work: a folder for what has arrived; an interrupted download goes on from it, a finished one removes it.
        endpoint: the hub's address, by default that of HF_ENDPOINT.

    Raises UserError for a repository that is not there, gated, or without safetensors weights, and where the network
    fails.
    """
    source = Source("model", repo, revision, endpoint or hub_address())
    with _online():
        listed = _listed(source)
        files = [file for file in listed if "/" not in file.path and _matches(file.path, MODEL_FILES)]
        if missing := _unmatched(NEEDED_FILES, files):
            raise UserError(
                f"{source.page} has no {missing[0]} at commit {revision}: use a revision or copy of the model that has "
                f"(pickled weights are never loaded); it holds {_some(listed)}."
            )
        _download(source, files, Path(target), Path(work))


def download_dataset(
    repo: str, revision: str, files: list[str], sha256: dict[str, str], target: Path, work: Path,
    endpoint: str | None = None,
) -> None:  # fmt: skip
    """Write those files of a data set that match any pattern in `files` to the folder `target`, in its own layout.

    Args:
        files: patterns of paths, in which `*` stands for any part.
        sha256: hashes of your own for some of the files, {path: 64 hexadecimal digits}.

    The other arguments and errors are those of `download_model`.
    """
    source = Source("dataset", repo, revision, endpoint or hub_address())
    with _online():
        listed = _listed(source)
        chosen = [file for file in listed if _matches(file.path, files)]
        strangers = set(sha256) - {file.path for file in chosen}
        if missing := _unmatched(files, listed) + sorted(strangers):
            raise UserError(
                f"{source.page} has no file {missing[0]!r} at commit {revision}, or it is not one of `files`: correct "
                f"`files` or `sha256` of the entry; it holds {_some(listed)}."
            )
        _download(source, chosen, Path(target), Path(work), sha256)


def _download(
    source: Source, files: list[File], target: Path, work: Path, pinned: dict[str, str] | None = None
) -> None:
    """Receive `files`, compare the `pinned` hashes, and only then put all of them in their place."""
    arrived = work / source.revision
    arrived.mkdir(parents=True, exist_ok=True)
    _check_room(source, files, arrived)
    for file in sorted(files, key=lambda file: file.size):  # what is wrong with small ones is known at once
        _fetch(source, file, arrived / file.path)
    for path, digest in (pinned or {}).items():
        with (arrived / path).open("rb") as content:
            actual = hashlib.file_digest(content, "sha256").hexdigest()
        if actual != digest:
            raise UserError(
                f"{path} of {source.page} has sha256 {actual}, expected {digest}: look at it, and correct `sha256` or "
                "`revision` of the entry."
            )
    for file in files:
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(arrived / file.path, place)
    shutil.rmtree(work)


def _listed(source: Source) -> list[File]:
    """All files of the repository."""
    api, timeout = HfApi(endpoint=source.endpoint), constants.HF_HUB_DOWNLOAD_TIMEOUT
    query = {"revision": source.revision, "repo_type": source.kind, "timeout": timeout, "files_metadata": True}
    try:
        info = _persist(source, "its list of files", lambda: api.repo_info(source.repo, **query), lambda: 0)
        files = [File(s.rfilename, s.size, s.lfs.sha256 if s.lfs else s.blob_id) for s in info.siblings]
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        raise UserError(
            f"{source.page} does not answer as a hub does ({_first_line(error)}): check HF_ENDPOINT and `repo`."
        ) from None
    if info.sha != source.revision or not all(file.known for file in files):
        raise UserError(
            f"{source.page} does not say the size and hash of every file at commit {source.revision}, so nothing could "
            "be checked: let HF_ENDPOINT name another mirror, or none."
        )
    if fault := fault_of([file.path for file in files]):
        raise UserError(f"{source.page} lists {fault}: do not use it.")
    return files


def _fetch(source: Source, file: File, part: Path) -> None:
    """Complete the file `part`, which may have begun earlier, from the user's cache or the network."""
    part.parent.mkdir(parents=True, exist_ok=True)
    cached = try_to_load_from_cache(source.repo, file.path, revision=source.revision, repo_type=source.kind)

    def attempt() -> None:
        _receive(source, file, part)
        _verify(file, part)

    try:
        if not part.exists() and isinstance(cached, str):
            shutil.copyfile(cached, part)
        part.touch()
        _persist(source, file.path, attempt, lambda: part.stat().st_size if part.exists() else 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"No space is left on the disk for {file.path} of {source.page}: free some and run the study again, which "
            "goes on from what has arrived."
        ) from None


def _receive(source: Source, file: File, part: Path) -> None:
    """Append to `part` what is missing, or begin anew where the server only sends whole files."""
    part.touch()
    if (begun := part.stat().st_size) == file.size:
        return
    url = hf_hub_url(source.repo, file.path, repo_type=source.kind, revision=source.revision, endpoint=source.endpoint)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        telling = Telling(file.path, "MB")
        with part.open("ab" if response.status_code == 206 else "wb") as sink:
            for chunk in response.iter_bytes():
                sink.write(chunk)
                telling(sink.tell() // 10**6, file.size // 10**6)
                if sink.tell() > file.size:
                    break


def _verify(file: File, part: Path) -> None:
    """Refuse a file that is not what the hub says; one that only ends too early is kept, to go on from."""
    if part.stat().st_size < file.size:
        raise _Damaged("it ends too early")
    if not file.matches(part):
        part.unlink()
        raise _Damaged(f"its size or hash is not what the hub says, {file.size} bytes and {file.digest}")
    print(f"{file.path}: {file.size} bytes, {file.digest}", flush=True)


def _persist(source: Source, what: str, action: Callable[[], Answer], arrived: Callable[[], int]) -> Answer:
    """What `action` gives; where it fails for the moment, again, until TRIES in a row have not added to `arrived`."""
    failures = 0
    while True:
        before = arrived()
        try:
            return action()
        except (HTTPError, _Damaged) as error:
            if refusal := _refusal(error, source):
                raise refusal from None
            failures = 1 if arrived() > before else failures + 1
            if failures == TRIES:
                raise UserError(
                    f"{source.page}: {what} could not be fetched in {TRIES} tries ({_reason(error)}): run the study "
                    "again, which goes on from what has arrived; HF_ENDPOINT may name a mirror, and "
                    "HF_HUB_DOWNLOAD_TIMEOUT how many seconds of silence are borne."
                ) from None
            print(f"{what}: {_reason(error)}; trying again", flush=True)
            time.sleep(PAUSE_S * 2 ** (failures - 1))


def _refusal(error: Exception, source: Source) -> UserError | None:
    """What to say of an answer that another try would not change; None where it might."""
    if not isinstance(error, HfHubHTTPError):
        return None
    status = error.response.status_code
    if status in (408, 429) or status >= 500:
        return None
    if status in (401, 403):
        why = "is gated" if isinstance(error, GatedRepoError) else "is gated, private or not there"
        return UserError(
            f"{source.page} {why} ({status}): open that page, accept its conditions where it has some, and set "
            "HF_TOKEN to a token of the account that may read it."
        )
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{source.page} has no commit {source.revision}: take one of {source.page}/commits/main.")
    return UserError(
        f"{source.page} cannot be fetched ({_reason(error)}): check `repo`; a private one needs a token in HF_TOKEN."
    )


def _reason(error: Exception) -> str:
    """A short name of what went wrong; messages of the network's own may hold addresses that are signed."""
    if isinstance(error, HfHubHTTPError):
        return f"status {error.response.status_code}"
    return str(error) if isinstance(error, _Damaged) else type(error).__name__


def _check_room(source: Source, files: list[File], arrived: Path) -> None:
    """Refuse to begin what does not fit on the disk."""
    begun = sum((arrived / file.path).stat().st_size for file in files if (arrived / file.path).exists())
    needed, free = sum(file.size for file in files) - begun, shutil.disk_usage(arrived).free
    if needed > free:
        raise UserError(
            f"No space is left on the disk for {source.page}: it needs {needed / 1e6:,.0f} MB in "
            f"{arrived.parent.parent}, where {free / 1e6:,.0f} MB are free; make room and run the study again."
        )


@contextmanager
def _online() -> Iterator[None]:
    """Let huggingface_hub use the network, which the workflow's jobs are kept from."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _unmatched(patterns: Sequence[str], files: list[File]) -> list[str]:
    """Patterns that no file matches."""
    return [pattern for pattern in patterns if not any(fnmatchcase(file.path, pattern) for file in files)]


def _some(files: list[File]) -> str:
    """The paths of the first 12 files, for an error."""
    return (", ".join(f"{file.path:.60}" for file in files[:12]) or "nothing") + (
        " and more" if len(files) > 12 else ""
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:120]
