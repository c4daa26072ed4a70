"""What a hub says of a repository's files, and whether files can be so (standard library only)."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """What the hub says of a file.

    path: its place in the repository.
    size: in bytes.
    digest: SHA-256 of a file in large file storage, else its git blob hash (SHA-1).
    """

    path: str
    size: int
    digest: str

    def matches(self, local: Path) -> bool:
        """Whether `local` has this size and hash."""
        return local.stat().st_size == self.size and self.digest_of(local) == self.digest

    def digest_of(self, local: Path) -> str:
        """The hash of `local` by the same rule."""
        blob = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        with local.open("rb") as file:
            return hashlib.file_digest(file, "sha256" if len(self.digest) == 64 else lambda: blob).hexdigest()

    @property
    def known(self) -> bool:
        """Whether the hub has said what to compare the file with."""
        digest = isinstance(self.digest, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.digest)
        return type(self.size) is int and self.size >= 0 and bool(digest)


def fault_of(paths: Sequence[object]) -> str:
    """The first path that no file can have, or not beside the others, and why; empty where all can be."""
    seen, folders = set(), set()
    for path in paths:
        if fault := _fault(path) or ("which it lists twice" if path in seen else ""):
            return f"the file {path!r:.90}, {fault}"
        seen.add(path)
        folders |= {path[: slash.start()] for slash in re.finditer("/", path)}
    return next((f"{path!r:.90} as a file and as a folder" for path in sorted(seen & folders)), "")


def _fault(path: object) -> str:
    """Why no file may have this path in a repository; empty where it may."""
    if not isinstance(path, str) or not path:
        return "which is no name"
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path:
        return "outside the repository"
    if {"", "."} & set(parts) or any(unicodedata.category(c) in ("Cc", "Cs") for c in path):
        return "which is no name"
    if max(len(part.encode()) for part in parts) > 255 or len(path.encode()) > 1000:
        return "a name that is too long"
    return "as records of jobs are called" if path.endswith(".job.json") else ""
