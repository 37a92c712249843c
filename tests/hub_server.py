"""A server on loopback that behaves like a model hub, a web server and a book archive, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from goldilocks.checkpoints.folders import git_blob_hash
from tools.bench.norms import running, span

BOOK = "/cache/pg829.txt"
PLAIN = "/plain"


class Hub(ThreadingHTTPServer):
    """Serves `files` of one repository at one commit, the same files under `/plain/`, and a book.

    `faults` says what goes wrong, and how many more times; `delay` is added to every answer, in seconds.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], book: bytes, repository: str, commit: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.book, self.repository, self.commit = files, book, repository, commit
        self.faults: dict[str, int] = {}
        self.delay = 0.0
        self.seconds_each = 0.0  # that the contents of a large file take
        self.description = b""  # said of the repository in place of the truth, if there is any
        self.redirect_to = ""  # where large files lie; here, if empty
        self.headers: dict[str, str] = {}  # sent with every file
        self.refusal_headers: dict[str, str] = {}  # sent with every error of `faults`
        self.requests: list[tuple[str, str, str | None]] = []
        self.tokens: list[tuple[str, str | None]] = []  # path, Authorization
        self.bytes_sent = self.at_once = self.most_at_once = 0
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

    def etag(self, name: str) -> str:
        contents = self.files[name]
        return hashlib.sha256(contents).hexdigest() if large(name) else git_blob_hash(contents)


def large(name: str) -> bool:
    return name.endswith(".safetensors")


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
            hub.tokens.append((self.path, self.headers.get("Authorization")))
            hub.at_once += 1
            hub.most_at_once = max(hub.most_at_once, hub.at_once)
        try:
            time.sleep(hub.delay)
            self.route(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with hub.lock:
                hub.at_once -= 1

    def route(self, body: bool) -> None:
        hub = self.server
        for status in (401, 429, 500, 503):
            if hub.takes_place(str(status)):
                self.respond(status, b"no", hub.refusal_headers, body)
                return
        if hub.takes_place("drip"):
            self.drip()
            return
        if self.path == BOOK:
            self.respond(200, hub.book, {}, body)
            return
        if self.path.startswith("/api/"):
            self.describe(body)
            return
        path = re.sub(r"^http://[^/]+", "", self.path)  # as a proxy is asked
        match = re.fullmatch(rf"/(cdn/)?{re.escape(hub.repository)}/resolve/([^/]+)/(.+)", path)
        plain = re.fullmatch(rf"{PLAIN}/([^?]+)(\?signature=good.*)?", path)
        name = match[3] if match else plain[1] if plain else ""
        if hub.faults.get("signed") and not (plain and plain[2]):
            self.respond(403, b"no signature", {}, body)
            return
        if name not in hub.files and hub.faults.get("a page for all"):
            self.respond(200, b"\n<!DOCTYPE html><title>not found</title>", {"Content-Type": "text/html"}, body)
            return
        if name not in hub.files:
            self.respond(403 if hub.faults.get("nothing listed") else 404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return
        if match and match[1] and hub.takes_place("expired"):
            self.respond(403, b"signature too old", {}, body)
            return
        headers = {"ETag": f'"{hub.etag(name)}"'} | hub.headers
        if hub.takes_place("replaced"):
            headers["ETag"] = '"another"'
        if match and not match[1]:
            headers["X-Repo-Commit"] = hub.commit
            if large(name):
                self.respond(302, b"", headers | {"Location": f"{hub.redirect_to or hub.address}/cdn{self.path}"}, body)
                return
        self.send_contents(hub.files[name], headers, body)

    def drip(self) -> None:
        """Send a header for ever, a little at a time."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        while True:
            self.wfile.write(b"x")
            time.sleep(0.1)

    def describe(self, body: bool) -> None:
        """The hub's answer to what a repository is at a revision."""
        hub = self.server
        match = re.fullmatch(rf"/api/models/{re.escape(hub.repository)}/revision/([^?]+)\?blobs=[Tt]rue", self.path)
        if hub.description:
            self.respond(200, hub.description, {}, body)
        elif not match:
            self.respond(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
        elif match[1] not in ("main", hub.commit):
            self.respond(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
        else:
            siblings = [
                {"rfilename": name, "size": len(contents), "blobId": git_blob_hash(contents)}
                | ({"lfs": {"sha256": hub.etag(name), "size": len(contents), "pointerSize": 1}} if large(name) else {})
                for name, contents in hub.files.items()
            ]
            commit = "f" * 40 if hub.faults.get("other commit") else hub.commit
            found = {"id": hub.repository, "sha": commit, "siblings": siblings}
            self.respond(200, json.dumps(found).encode(), {"Content-Type": "application/json"}, body)

    def send_contents(self, contents: bytes, headers: dict[str, str], body: bool) -> None:
        hub = self.server
        wanted = span(self.headers.get("Range", ""), len(contents))
        if body and hub.faults.get("other bytes"):
            contents = bytes([contents[0] ^ 1]) + contents[1:]
        if not wanted or hub.faults.get("ranges ignored"):
            self.respond(200, contents, headers, body)
            return
        start, stop = wanted
        if start >= len(contents):
            self.respond(416, b"", {"Content-Range": f"bytes */{len(contents)}"}, body)
            return
        if start and hub.takes_place("another range"):
            start, stop = start - 1, stop - 1
        told = "nonsense" if hub.faults.get("no size") else f"bytes {start}-{stop - 1}/{len(contents)}"
        self.respond(206, contents[start:stop], headers | {"Content-Range": told}, body)

    def respond(self, status: int, contents: bytes, headers: dict[str, str], body: bool) -> None:
        hub = self.server
        if status < 300 and hub.takes_place("silence"):
            time.sleep(3)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(contents)))
        if body and status < 300 and hub.takes_place("cut"):
            contents = contents[: len(contents) // 2]
            self.close_connection = True
        self.end_headers()
        if body:
            pieces = 10 if hub.seconds_each and large(self.path) else 1
            for n in range(pieces):
                self.wfile.write(contents[n * len(contents) // pieces : (n + 1) * len(contents) // pieces])
                time.sleep(hub.seconds_each / pieces if pieces > 1 else 0)
            with hub.lock:
                hub.bytes_sent += len(contents)


def serving(files: dict[str, bytes], book: bytes, repository: str, commit: str) -> AbstractContextManager[Hub]:
    """A running hub, stopped at the end of the block."""
    return running(Hub(files, book, repository, commit))
