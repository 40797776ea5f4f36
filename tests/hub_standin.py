"""A stand-in for the Hub on the loopback address, with failures to order."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".gz", ".safetensors", ".parquet")  # what the Hub keeps as large files, by SHA-256


@dataclass
class Failure:
    """What goes wrong at requests whose path holds `where`, the first `times` times.

    Attributes:
        kind: `drop` (the connection ends in the middle of the answer), `status` (an error),
            `slow` (the answer waits), `wrong` (other bytes of the same length), `moved` (the
            answer is of another commit).
        value: the status, or the seconds.
    """

    where: str
    kind: str
    times: int = 1
    value: float = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Hub:
    """What a running stand-in serves and has served."""

    url: str
    failures: list[Failure]
    served: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)


@contextmanager
def running(files: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """Serve repositories, `models/OWNER/NAME` or `datasets/OWNER/NAME`, of files by path."""
    hub = Hub("", [])
    with serving(_handler(files, hub)) as hub.url:
        yield hub


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Let a handler answer on the loopback address, which is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tree(directory: Path) -> dict[str, bytes]:
    """The files of a directory, as `running` takes them."""
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }


def _entry(path: str, content: bytes) -> dict[str, Any]:
    blob = b"blob %d\0%b" % (len(content), content)
    entry: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": hashlib.sha1(blob, usedforsecurity=False).hexdigest(),
    }
    if path.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry


def _handler(files: dict[str, dict[str, bytes]], hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.served[f"{self.command} {path}"] += 1
            failure = next((f for f in hub.failures if f.where in path and f.times > 0), None)
            if failure and failure.kind in ("drop", "wrong") and self.command == "HEAD":
                failure = None
            if failure:
                failure.times -= 1
                if failure.kind == "slow":
                    time.sleep(failure.value)
                elif failure.kind == "status":
                    self.answer(b"{}", failure.headers, status=int(failure.value))
                    return
            kind = failure.kind if failure else ""
            if path.startswith("/api/"):
                self.api(path.removeprefix("/api/"), kind)
            else:
                self.resolve(path.lstrip("/"), kind)

        def api(self, path: str, kind: str) -> None:
            for name, repository in files.items():
                if path in (f"{name}/revision/{COMMIT}", name):
                    sha = "f" * 40 if kind == "moved" else COMMIT
                    siblings = [{"rfilename": file} for file in repository]
                    values = {"id": name.partition("/")[2], "sha": sha, "siblings": siblings}
                    return self.answer(json.dumps(values | {"private": False, "tags": []}).encode())
                if path == f"{name}/tree/{COMMIT}":
                    entries = [_entry(*item) for item in repository.items()]
                    return self.answer(json.dumps(entries).encode(), drop=kind == "drop")
            return self.answer(
                b'{"error": "not found"}', {"X-Error-Code": "RevisionNotFound"}, status=404
            )

        def resolve(self, path: str, kind: str) -> None:
            repository, _, file = path.partition(f"/resolve/{COMMIT}/")
            owner = repository if repository.startswith("datasets/") else f"models/{repository}"
            content = files.get(owner, {}).get(file)
            if content is None:
                self.answer(b"", {"X-Error-Code": "EntryNotFound"}, status=404)
                return
            entry = _entry(file, content)
            etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
            if kind == "wrong":
                content = bytes(b ^ 1 for b in content)
            headers = {
                "ETag": f'"{etag}"',
                "X-Repo-Commit": "f" * 40 if kind == "moved" else COMMIT,
                "Accept-Ranges": "bytes",
            }
            status, wanted = 200, self.headers.get("Range")
            if wanted:
                hub.ranges.append(wanted)
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                content, status = content[start:], 206
            self.answer(content, headers, status=status, drop=kind == "drop")

        def answer(
            self,
            content: bytes,
            headers: dict[str, str] | None = None,
            *,
            status: int = 200,
            drop: bool = False,
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content[: len(content) // 2] if drop else content)
            if drop:
                self.close_connection = True

    return Handler
