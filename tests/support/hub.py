"""A server on this machine that speaks the Hugging Face hub's protocol for one repository, and can be made to fail."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")  # are stored apart, under their SHA-256
PAGE = b"<html><body>Please sign in to this network.</body></html>"


@dataclass
class Hub:
    """One repository at one revision.

    Attributes:
        folder: its files.
        breaks: file -> after how many bytes the next answers break off, one number an answer.
        holds: file -> after how many bytes an answer waits until `release` is set.
        damaged: files of which one byte comes otherwise.
        pages: files in place of which a sign-in page comes.
        gone: files that are declared and not there.
        declared: file -> what the hub declares otherwise of it ("size", "sha256").
        says: the revision that the API claims to describe, where it is another.
        ranges: whether half a file can be asked for.
        status: of every answer of the API, where it is not 200.
        nonsense: the API answers with a page.
        asked: method, path and `Range` of every request.
    """

    folder: Path
    repository: str
    revision: str
    url: str = ""
    breaks: dict[str, list[int]] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    pages: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    says: str = ""
    status: int = 200
    nonsense: bool = False
    ranges: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def sha256(self, name: str) -> str:
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()

    def described(self, name: str) -> dict[str, Any]:
        """A file as `api/models/...` describes it."""
        content = (self.folder / name).read_bytes()
        said = self.declared.get(name, {})
        size = said.get("size", len(content))
        found: dict[str, Any] = {"rfilename": name, "size": size, "blobId": _git(content)}
        if name.endswith(LARGE):
            found["lfs"] = {"sha256": said.get("sha256", self.sha256(name)), "size": size, "pointerSize": 134}
        return found

    def fetched(self, name: str) -> list[str | None]:
        """`Range` of every time that a file's content was asked for."""
        return [asked for method, path, asked in self.asked if method == "GET" and path.endswith(f"/cdn/{name}")]


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub listens at `hub.url` for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        api = f"/api/models/{self.hub.repository}"
        resolved = re.fullmatch(f"/{self.hub.repository}/resolve/{self.hub.revision}/(.+)", path)
        if path in (f"{api}/revision/{self.hub.revision}", f"{api}/tree/{self.hub.revision}") or path == api:
            self._describe(tree="/tree/" in path)
        elif path.startswith("/cdn/"):
            self._send(path.removeprefix("/cdn/"), body)
        elif resolved and resolved[1] in {*self.hub.files()} - self.hub.gone:
            self._resolve(resolved[1], body)
        else:
            code = "EntryNotFound" if resolved else "RepoNotFound"
            self._whole(404, b'{"error": "not found"}', {"X-Error-Code": code})

    def _describe(self, tree: bool) -> None:
        if self.hub.nonsense:
            return self._whole(200, PAGE, {"Content-Type": "text/html"})
        if self.hub.status != 200:
            return self._whole(self.hub.status, b"{}")
        files = [self.hub.described(name) for name in self.hub.files()]
        value: Any = {"id": self.hub.repository, "sha": self.hub.says or self.hub.revision, "siblings": files}
        if tree:
            value = [
                {"type": "file", "path": file["rfilename"], "oid": file["blobId"], "size": file["size"]}
                | ({"lfs": {"oid": file["lfs"]["sha256"], **file["lfs"]}} if "lfs" in file else {})
                for file in files
            ]
        return self._whole(200, json.dumps(value).encode())

    def _resolve(self, name: str, body: bool) -> None:
        """A large file lies on another host, a small one comes at once; both say what they are."""
        described = self.hub.described(name)
        headers = {"X-Repo-Commit": self.hub.revision}
        if "lfs" not in described:
            return self._send(name, body, {**headers, "ETag": f'"{described["blobId"]}"'})
        headers |= {"X-Linked-Etag": f'"{described["lfs"]["sha256"]}"', "X-Linked-Size": str(described["size"])}
        headers["Location"] = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}"
        return self._whole(302, b"", headers)

    def _send(self, name: str, body: bool, headers: dict[str, str] | None = None) -> None:
        content = (self.hub.folder / name).read_bytes()
        if name in self.hub.pages:
            return self._whole(200, PAGE, {"Content-Type": "text/html"})
        if name in self.hub.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "") if self.hub.ranges else None
        start = int(found[1]) if found else 0
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not body:
            return None
        content = content[start:]
        if breaks := self.hub.breaks.get(name):
            self.wfile.write(content[: breaks.pop(0)])
            self.close_connection = True
            return None
        with contextlib.suppress(OSError):
            if name in self.hub.holds:
                self.wfile.write(content[: self.hub.holds[name]])
                self.wfile.flush()
                self.hub.held.set()
                self.hub.release.wait()
                content = content[self.hub.holds[name] :]
            self.wfile.write(content)
        return None

    def _whole(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
