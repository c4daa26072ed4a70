"""A hub on this machine: what huggingface_hub asks of the Hugging Face hub for downloads, and the hub's bad days.

Repositories are folders, `models/owner/name` and `datasets/owner/name`. Weights and tables are in large file storage,
to which requests are redirected: another server, which a token must not reach.
"""

import hashlib
import json
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = {".safetensors", ".bin", ".parquet", ".model", ".png"}
TOKEN = "hf_LoopbackTokenThatMustNotBeSeenAnywhere"
PATIENCE_S = 30  # that a stalled answer waits at most
ENOUGH = 10**8  # bytes of an endless answer


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    status: an answer of this status instead of the file.
    after: bytes that are sent before it happens.
    how: `cut` closes the connection, `reset` resets it, `stall` sends nothing more, `short` says and sends fewer bytes,
        `damage` turns all later bits, `endless` does not end, `whole` ignores the range that is asked for.
    """

    how: str = "status"
    after: int = 0
    status: int = 200


@dataclass(frozen=True)
class Request:
    """A request that was answered: where it went, and whether a token came along."""

    method: str
    path: str
    headers: Message

    @property
    def authorized(self) -> bool:
        """Whether it carried a token."""
        return "Authorization" in self.headers


@dataclass
class Hub:
    """Repositories below a folder, served at `url`.

    gated: repositories (`datasets/owner/name`) that need a token of `allowed`; `known` tokens are only no strangers.
    faults: by file path, or `api`, what happens to its next answers, in turn.
    requests: all requests so far.
    overrun: bytes that endless answers have sent.
    """

    folder: Path
    gated: set[str] = field(default_factory=set)
    allowed: set[str] = field(default_factory=lambda: {TOKEN})
    known: set[str] = field(default_factory=set)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    requests: list[Request] = field(default_factory=list)
    overrun: int = 0
    url: str = ""
    storage: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)

    def plan(self, path: str, *faults: Fault) -> None:
        """Let the next answers for a file fail so."""
        self.faults[path] = list(faults)

    def fault(self, path: str) -> Fault | None:
        """The next fault of a file's answers, taken off its list."""
        return self.faults[path].pop(0) if self.faults[path] else None

    def files(self, repo: str) -> dict[str, Path]:
        """{path in the repository: file} of `models/owner/name` or `datasets/owner/name`."""
        root = self.folder / repo
        found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        return dict(sorted(found.items()))

    def revision(self, repo: str) -> str:
        """The commit of a repository: a hash of its content."""
        listing = "\n".join(f"{name} {blob_hash(path)}" for name, path in self.files(repo).items())
        return hashlib.sha1(listing.encode()).hexdigest()

    def fetched(self, repo: str = "") -> list[str]:
        """Paths of the files that were asked for, once for each request to the hub itself."""
        parts = [unquote(request.path).partition("/resolve/") for request in self.requests if request.method == "GET"]
        return [after.partition("/")[2] for before, sign, after in parts if sign and repo in before]


def blob_hash(path: Path) -> str:
    """The hash by which git knows a file."""
    return _blob_hash(path, path.stat().st_mtime_ns)


@cache
def _blob_hash(path: Path, changed: int) -> str:
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def described(name: str, path: Path) -> dict:
    """A file as the hub's API describes it."""
    content = path.read_bytes()
    entry = {"rfilename": name, "size": len(content), "blobId": blob_hash(path)}
    if path.suffix in LARGE:
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; the server it belongs to has the hub as `hub`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for 40 ms

    def log_message(self, *arguments) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """As GET, without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer for the API, a file, or the storage."""
        self.hub.requests.append(Request(self.command, self.path, self.headers))
        address = urlsplit(self.path)
        parts = unquote(address.path).strip("/").split("/")
        if parts[0] == "storage":
            return self._send_file(self.hub.folder / "/".join(parts[1:4]), "/".join(parts[4:]), {})
        if parts[0] == "api":
            return self._send_api(parts[1:], parse_qs(address.query))
        kind, *rest = parts if parts[0] == "datasets" else ["models", *parts]
        repo, revision, path = "/".join([kind, *rest[:2]]), rest[3], rest[4:]  # rest[2] is `resolve`
        if self._refused(repo, revision, gate=True):
            return None
        return self._send_resolved(repo, "/".join(path))

    @property
    def hub(self) -> Hub:
        return self.server.hub

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _refused(self, repo: str, revision: str, gate: bool) -> bool:
        """Answer for a repository, commit or account that is not the right one."""
        welcome = self.token in self.hub.allowed
        if self.token and self.token not in self.hub.allowed | self.hub.known:
            self._send_error(401, "", "Invalid credentials in Authorization header")
        elif not (self.hub.folder / repo).is_dir():
            self._send_error(404 if welcome else 401, "RepoNotFound", "Repository not found")
        elif revision not in ("main", self.hub.revision(repo)):
            self._send_error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif gate and repo in self.hub.gated and not welcome:
            message = f"Access to {repo} is restricted. You must be authenticated to access it."
            self._send_error(403 if self.token else 401, "GatedRepo", message)
        else:
            return False
        return True

    def _send_api(self, parts: list[str], query: dict[str, list[str]]) -> None:
        """The list of a repository's files: `models/owner/name/revision/commit` or `.../tree/commit`."""
        repo, rest = "/".join(parts[:3]), parts[3:]
        revision = rest[1] if rest else "main"
        if fault := self.hub.fault("api"):
            return self._send_faulty(b"{}" * 100, fault, {})
        if self._refused(repo, revision, gate=False):
            return None
        files = [described(name, path) for name, path in self.hub.files(repo).items()]
        if rest and rest[0] == "tree":
            return self._send(200, json.dumps([_as_tree(entry) for entry in files]).encode(), {})
        if "blobs" not in query:
            files = [{"rfilename": entry["rfilename"]} for entry in files]
        facts = {"id": "/".join(parts[1:3]), "sha": self.hub.revision(repo), "private": False, "tags": []}
        facts |= {"gated": "auto" if repo in self.hub.gated else False, "disabled": False, "siblings": files}
        return self._send(200, json.dumps(facts).encode(), {})

    def _send_resolved(self, repo: str, name: str) -> None:
        """A file itself, or where it is stored."""
        commit = {"X-Repo-Commit": self.hub.revision(repo)}
        path = self.hub.files(repo).get(name)
        if not path:
            return self._send_error(404, "EntryNotFound", "Entry not found", commit)
        entry = described(name, path)
        if "lfs" not in entry:
            return self._send_file(self.hub.folder / repo, name, commit | {"ETag": f'"{entry["blobId"]}"'})
        linked = {"X-Linked-Etag": f'"{entry["lfs"]["sha256"]}"', "X-Linked-Size": str(entry["size"])}
        place = {"Location": f"{self.hub.storage}/storage/{quote(f'{repo}/{name}')}"}
        return self._send(302, b"", commit | linked | place)

    def _send_file(self, root: Path, name: str, headers: dict[str, str]) -> None:
        """The content of a file, or the part of it that is asked for."""
        content, status = (root / name).read_bytes(), 200
        fault = self.hub.fault(name) if self.command == "GET" else None
        asked = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if asked[0] and not (fault and fault.how == "whole"):
            first, status = int(asked[0]), 206
            headers = headers | {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
            if first >= len(content):
                return self._send_error(416, "", "Range not satisfiable")
            content = content[first:]
        if fault and fault.how != "whole":
            return self._send_faulty(content, fault, headers, status)
        return self._send(status, content, headers | {"Accept-Ranges": "bytes"})

    def _send_faulty(self, content: bytes, fault: Fault, headers: dict[str, str], status: int = 200) -> None:
        """An answer that ends badly."""
        if fault.how == "status":
            return self._send_error(fault.status, "", "Bad day")
        begin, rest = content[: fault.after], content[fault.after :]
        if fault.how == "damage":
            return self._send(status, begin + bytes(byte ^ 255 for byte in rest), headers)
        if fault.how == "short":
            return self._send(status, begin, headers)
        if fault.how == "endless":
            return self._send_endlessly(content, headers)
        self._send(status, begin, headers, length=len(content))
        self.close_connection = True
        if fault.how == "stall":
            self.hub.stopped.wait(PATIENCE_S)
        if fault.how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None

    def _send_endlessly(self, content: bytes, headers: dict[str, str]) -> None:
        """Content and more, until nobody listens or the overrun is ENOUGH."""
        self.close_connection = True
        try:
            self._send(200, content, headers, length=10**12)
            while self.hub.overrun < ENOUGH:
                self.hub.overrun += self.wfile.write(b"x" * (1 << 16))
        except OSError:
            pass

    def _send_error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), (headers or {}) | named)

    def _send(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()


def _as_tree(entry: dict) -> dict:
    """A file as the API's tree has it."""
    file = {"type": "file", "path": entry["rfilename"], "size": entry["size"], "oid": entry["blobId"]}
    if "lfs" in entry:
        file["lfs"] = {"oid": entry["lfs"]["sha256"], "size": entry["size"], "pointerSize": 130}
    return file


class Server(ThreadingHTTPServer):
    """A server whose connections may be left without a word."""

    daemon_threads = True
    hub: Hub

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is no fault here."""


@contextmanager
def serve(folder: Path, **settings) -> Iterator[Hub]:
    """Serve the repositories below a folder until the end of the context."""
    hub, servers = Hub(folder, **settings), [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        server.hub = hub
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.stopped.set()
        for server in servers:
            server.shutdown()
            server.server_close()
