"""A server on loopback that behaves like a model hub and a book archive, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stages.sources.hub import git_blob_hash

BOOK = "/cache/pg829.txt"


class Hub(ThreadingHTTPServer):
    """Serves `files` of one repository at one commit, and a book."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], book: bytes, repository: str, commit: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.book, self.repository, self.commit = files, book, repository, commit
        self.faults: dict[str, int] = {}  # what goes wrong -> how many more times
        self.requests: list[tuple[str, str, str | None]] = []
        self.bytes_sent = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def takes_place(self, fault: str) -> bool:
        """Whether a fault happens now; uses up one of its times."""
        with self.lock:
            left = self.faults.get(fault, 0)
            self.faults[fault] = max(left - 1, 0)
            return left > 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub = self.server
        with hub.lock:
            hub.requests.append((self.command, self.path, self.headers.get("Range")))
        if hub.takes_place("503"):
            self.respond(503, b"busy", {}, body)
            return
        if self.path == BOOK:
            self.respond(200, hub.book, {}, body)
            return
        match = re.fullmatch(rf"/(cdn/)?{re.escape(hub.repository)}/resolve/([^/]+)/(.+)", self.path)
        if not match or match[3] not in hub.files:
            self.respond(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return
        contents = hub.files[match[3]]
        large = match[3].endswith(".safetensors")
        etag = hashlib.sha256(contents).hexdigest() if large else git_blob_hash(contents)
        commit = "f" * 40 if hub.faults.get("other commit") else hub.commit
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        if large and not match[1]:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(contents))}
            self.respond(302, b"", headers | {"Location": f"{hub.address}/cdn{self.path}"}, body)
            return
        self.send_contents(contents, headers, body)

    def send_contents(self, contents: bytes, headers: dict[str, str], body: bool) -> None:
        hub = self.server
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if body and hub.faults.get("other bytes"):
            contents = bytes([contents[0] ^ 1]) + contents[1:]
        if wanted and not hub.faults.get("ranges ignored"):
            start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(contents))
            span = f"bytes {start}-{stop - 1}/{len(contents)}"
            self.respond(206, contents[start:stop], headers | {"Content-Range": span}, body)
        else:
            self.respond(200, contents, headers, body)

    def respond(self, status: int, contents: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(contents)))
        cut = body and status < 300 and self.server.takes_place("cut")
        if cut:
            contents = contents[: len(contents) // 2]
            self.close_connection = True
        self.end_headers()
        if body:
            self.wfile.write(contents)
            self.server.bytes_sent += len(contents)


@contextmanager
def serving(files: dict[str, bytes], book: bytes, repository: str, commit: str) -> Iterator[Hub]:
    """A running hub, stopped at the end of the block."""
    hub = Hub(files, book, repository, commit)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
