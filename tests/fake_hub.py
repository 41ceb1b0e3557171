"""A Hugging Face Hub on this machine: serves saved models as the real one does, and fails as one asks it to.

    with FakeHub() as hub:
        revision = hub.add("owner/name", folder)              # 40 digits; "main" is it from now on
        hub.add("owner/gated", folder, token="hf_a")          # files only with that token: 401 without any, 403 with another
        hub.fault("owner/name", "corrupted", "*.safetensors", times=1)
        child = subprocess.Popen(..., env={**os.environ, **hub.environment})
        hub.requests                                          # what was asked for, with which Authorization

What is saved by Git LFS there (*.safetensors) is redirected to another host name, as to the real Hub's storage.
"""

import hashlib
import json
import socket
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

INFO = "model_info"  # the name by which a fault's pattern means the request for what there is
BEFORE = ("status", "hang")  # instead of an answer
DURING = ("reset", "drip", "slow")  # of an answer, or in its middle
INSTEAD = ("truncated", "corrupted", "longer")  # of a file's true bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    repo: str
    name: str  # of a file, or INFO
    authorization: str | None
    range: str | None
    storage: bool  # the host that LFS files are redirected to


@dataclass(slots=True)
class Fault:
    """What goes wrong with the files of a repository that match a pattern, so many times."""

    repo: str
    kind: str
    pattern: str
    times: float
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    rate: int = 50_000  # bytes a second, of "slow"


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository at one revision."""

    files: dict[str, Path]
    sha: str
    token: str | None
    private: bool


class FakeHub:
    """A Hub on 127.0.0.1, from `with` to its end."""

    def __init__(self):
        self.requests: list[Request] = []
        self._repos: dict[tuple[str, str], Repo] = {}  # by name and revision
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> "FakeHub":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to take this for the Hub."""
        return {"HF_ENDPOINT": f"http://127.0.0.1:{self.port}", "HF_HUB_OFFLINE": "0"}

    def add(
        self, name: str, folder: Path, *, token: str | None = None, private: bool = False, revision: str | None = None
    ) -> str:
        """Serve a folder as that repository's newest revision, and return its 40 digits, of its own making if none are given.

        With `token` its files are for that token only (gated); with `private` there is no repository for others at all.
        """
        files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
        told = json.dumps([name, {file: _git_sha(path) for file, path in files.items()}])
        repo = Repo(files, revision or hashlib.sha1(told.encode()).hexdigest(), token, private)
        with self._lock:
            self._repos[name, repo.sha] = self._repos[name, "main"] = repo
        return repo.sha

    def fault(
        self, name: str, kind: str, pattern: str = "*", times: float = float("inf"), *, status: int = 500,
        headers: dict[str, str] | None = None, rate: int = 50_000,
    ) -> None:  # fmt: skip
        """Let so many requests go wrong: those for that repository's files, or for what it has (INFO), that match a pattern.

        kind: "status" (with `status`, `headers`; 401 says GatedRepo, 429 an hour), "hang" (no answer, ever),
        "reset" (closed in the middle), "drip" (a byte a second), "slow" (`rate` bytes a second),
        and of files only "truncated" (half of it), "corrupted" (as long, one byte wrong), "longer" (twice as long).
        """
        assert kind in BEFORE + DURING + INSTEAD, kind
        usual = {401: {"X-Error-Code": "GatedRepo"}, 429: {"Retry-After": "3600"}}.get(status, {})
        with self._lock:
            self._faults.append(Fault(name, kind, pattern, times, status, usual if headers is None else headers, rate))

    def clear(self) -> None:
        """End all faults and forget the requests."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def asked(self, name: str, file: str = "*", method: str = "GET") -> list[Request]:
        """Return the requests of that method for a repository's files that match a pattern, redirected ones once."""
        with self._lock:
            return [
                request
                for request in self.requests
                if (request.repo, request.method, request.storage) == (name, method, False)
                and fnmatchcase(request.name, file)
            ]

    def _find(self, name: str, revision: str) -> Repo | None:
        with self._lock:
            return self._repos.get((name, revision))

    def _knows(self, name: str) -> bool:
        with self._lock:
            return (name, "main") in self._repos

    def _fault(self, name: str, file: str, kinds: tuple[str, ...]) -> Fault | None:
        """Return what is to go wrong with this request, and count it."""
        with self._lock:
            for fault in self._faults:
                meant = fault.repo == name and fault.kind in kinds and fnmatchcase(file, fault.pattern)
                if meant and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) in (4, 6):
            revision = parts[5] if len(parts) == 6 else "main"
            self._note("/".join(parts[2:4]), INFO)
            self._info("/".join(parts[2:4]), revision, tree="tree" in parts[4:5])
        elif parts[0] == "storage" and len(parts) > 4:
            self._note("/".join(parts[1:3]), "/".join(parts[4:]), storage=True)
            self._body("/".join(parts[1:3]), parts[3], "/".join(parts[4:]))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._note("/".join(parts[:2]), "/".join(parts[4:]))
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def log_message(self, *_) -> None:
        """Say nothing on the screen."""

    def _note(self, repo: str, name: str, storage: bool = False) -> None:
        headers = (self.headers.get("Authorization"), self.headers.get("Range"))
        with self.hub._lock:
            self.hub.requests.append(Request(self.command, self.path, repo, name, *headers, storage))

    def _info(self, name: str, revision: str, tree: bool) -> None:
        """Answer what there is: about the model, or with `tree` its files alone, as snapshot_download asks for them."""
        repo = self._opened(name, revision, INFO)
        if repo is None:
            return
        if tree:
            listing = [_listed(file, path) for file, path in repo.files.items()]
            return self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"}, name, INFO)
        sizes = "blobs" in parse_qs(urlsplit(self.path).query)
        answer = {
            "_id": repo.sha[:24], "id": name, "modelId": name, "sha": repo.sha, "private": repo.private,
            "gated": "auto" if repo.token and not repo.private else False, "tags": [], "downloads": 0, "likes": 0,
            "siblings": [_sibling(file, path, sizes) for file, path in repo.files.items()],
        }  # fmt: skip
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, name, INFO)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._opened(name, revision, file)
        if repo is None:
            return
        if file not in repo.files:
            return self._refuse(404, {"X-Error-Code": "EntryNotFound"})
        if not _is_lfs(file):
            return self._body(name, repo.sha, file)
        path = repo.files[file]
        linked = {"X-Linked-Etag": f'"{_sha256(path)}"', "X-Linked-Size": str(path.stat().st_size)}
        location = f"http://localhost:{self.hub.port}/storage/{name}/{repo.sha}/{quote(file)}"
        self._head(302, {"Location": location, "X-Repo-Commit": repo.sha, "Content-Length": "0", **linked})

    def _opened(self, name: str, revision: str, file: str) -> Repo | None:
        """Return the repository, or None where the request is answered: by a fault, or since it may not be had."""
        fault = self.hub._fault(name, file, BEFORE)
        if fault is not None and fault.kind == "hang":
            self.hub._closing.wait()
            self.close_connection = True
            return None
        if fault is not None:
            return self._refuse(fault.status, fault.headers)
        repo, token = self.hub._find(name, revision), self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None and self.hub._knows(name):
            return self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
        if repo is None or (repo.private and token != repo.token):  # a stranger is not told which of the two
            return self._refuse(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        if repo.token and file != INFO and token != repo.token:
            return self._refuse(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        return repo

    def _body(self, name: str, revision: str, file: str) -> None:
        """Answer with a file's bytes, from where they were asked for."""
        repo = self.hub._find(name, revision)
        content = repo.files[file].read_bytes()
        etag = _sha256(repo.files[file]) if _is_lfs(file) else _git_sha(repo.files[file])
        fault = self.hub._fault(name, file, INSTEAD) if self.command == "GET" else None
        if fault is not None and fault.kind == "corrupted":
            content = content[:-1] + bytes([content[-1] ^ 1])
        elif fault is not None:
            content = content[: len(content) // 2] if fault.kind == "truncated" else content * 2
        headers, status, start = {"ETag": f'"{etag}"', "X-Repo-Commit": repo.sha, "Accept-Ranges": "bytes"}, 200, 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                return self._refuse(416, {"Content-Range": f"bytes */{len(content)}"})
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(status, content[start:], headers, name, file)

    def _send(self, status: int, content: bytes, headers: dict[str, str], name: str, file: str) -> None:
        """Send an answer, at the pace of what is to go wrong with it."""
        fault = self.hub._fault(name, file, DURING) if self.command == "GET" else None
        self._head(status, {**headers, "Content-Length": str(len(content))})
        if self.command == "HEAD":
            return
        try:
            if fault is None:
                self.wfile.write(content)
            elif fault.kind == "reset":
                self.wfile.write(content[: len(content) // 2])
                self._hang_up()
            else:
                self._pace(content, *((1, 1.0) if fault.kind == "drip" else (max(1, fault.rate // 20), 0.05)))
        except OSError:  # the other side left
            self.close_connection = True

    def _pace(self, content: bytes, size: int, seconds: float) -> None:
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            if self.hub._closing.wait(seconds):
                return self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        content = b'{"error": "no"}' if self.command == "GET" else b""
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers})
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _is_lfs(file: str) -> bool:
    return file.endswith((".safetensors", ".bin", ".h5", ".onnx"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git_sha(path: Path) -> str:
    """Return the name Git gives a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(file: str, path: Path, sizes: bool) -> dict:
    """Return what the Hub says of a file."""
    if not sizes:
        return {"rfilename": file}
    told = {"rfilename": file, "size": path.stat().st_size, "blobId": _git_sha(path)}
    if _is_lfs(file):
        told["lfs"] = {"sha256": _sha256(path), "size": path.stat().st_size, "pointerSize": 134}
    return told


def _listed(file: str, path: Path) -> dict:
    """Return what the Hub says of a file in a listing of folders."""
    told = {"type": "file", "path": file, "oid": _git_sha(path), "size": path.stat().st_size}
    return {**told, "lfs": {"oid": _sha256(path), "size": told["size"], "pointerSize": 134}} if _is_lfs(file) else told
