"""A server on loopback that behaves like a model hub, a web server and a book archive, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from goldilocks.checkpoints.hub import git_blob_hash

BOOK = "/cache/pg829.txt"
PLAIN = "/plain"
COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"


class Hub(ThreadingHTTPServer):
    """Serves `files` of a repository's main branch, the same files under `/plain/`, and a book.

    `faults` says what goes wrong, and how many more times; `delay` is added to every answer, in seconds.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], repository: str = "someone/tiny", book: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.files, self.book, self.repository = files, book, repository
        self.revisions = {"main": COMMIT}
        self.commits = {COMMIT: files}
        self.faults: dict[str, int] = {}
        self.delay, self.silence = 0.0, 3.0  # seconds
        self.redirect_to = self.address  # where large files lie
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.tokens: list[tuple[str, str | None]] = []  # path, Authorization
        self.bytes_sent = self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def takes_place(self, fault: str) -> bool:
        """Whether a fault happens now; uses up one of its times."""
        with self.lock:
            left = self.faults.get(fault, 0)
            self.faults[fault] = max(left - 1, 0)
            return left > 0


def large(name: str) -> bool:
    return name.endswith(".safetensors")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.server
        if self.path == "/api/agent-harnesses":  # huggingface_hub's own question
            return self.respond(404)
        with hub.lock:
            hub.requests.append((self.path, self.headers.get("Range")))
            hub.tokens.append((self.path, self.headers.get("Authorization")))
            hub.at_once += 1
            hub.most_at_once = max(hub.most_at_once, hub.at_once)
        try:
            time.sleep(hub.delay)
            self.route(re.sub(r"^http://[^/]+", "", self.path))  # as a proxy is asked
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with hub.lock:
                hub.at_once -= 1

    def route(self, path: str) -> None:
        hub = self.server
        if hub.takes_place("503"):
            return self.respond(503, b"no")
        if hub.takes_place("drip"):
            return self.drip()
        if path == BOOK:
            return self.respond(200, hub.book)
        if asked := re.fullmatch(rf"/api/models/{hub.repository}/revision/([^?]+)\?blobs=true", path):
            return self.describe(asked[1])
        stored = re.fullmatch(rf"(/cdn)?/{hub.repository}/resolve/([^/]+)/(.+)", path)
        files = hub.commits.get(stored[2], {}) if stored else hub.files
        name = stored[3] if stored else path.removeprefix(f"{PLAIN}/")
        if name not in files:
            return self.respond(404)
        if stored and stored[1] and hub.takes_place("expired"):
            return self.respond(403, b"signature too old")
        if stored and not stored[1] and large(name):
            return self.respond(302, b"", {"Location": f"{hub.redirect_to}/cdn{path}"})
        return self.send_contents(files[name])

    def drip(self) -> None:
        """Send a header without an end, a little at a time."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        for _ in range(30):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def describe(self, revision: str) -> None:
        """The hub's answer to what the repository is at a revision."""
        hub = self.server
        commit = hub.revisions.get(revision, revision)
        if commit not in hub.commits:
            return self.respond(404)
        siblings = [
            {"rfilename": name, "blobId": git_blob_hash(contents)}
            | ({"lfs": {"sha256": hashlib.sha256(contents).hexdigest()}} if large(name) else {})
            for name, contents in hub.commits[commit].items()
        ]
        said = {"sha": "f" * 40 if hub.faults.get("other commit") else commit, "siblings": siblings}
        return self.respond(200, json.dumps(said).encode())

    def send_contents(self, contents: bytes) -> None:
        headers = {"ETag": f'"{git_blob_hash(contents)}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if self.server.faults.get("other bytes"):
            contents = bytes([contents[0] ^ 1]) + contents[1:]
        if not asked:
            return self.respond(200, contents, headers)
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(contents))
        part = {"Content-Range": f"bytes {start}-{stop - 1}/{len(contents)}"}
        return self.respond(206, contents[start:stop], headers | part)

    def respond(self, status: int, contents: bytes = b"", headers: dict[str, str] | None = None) -> None:
        hub = self.server
        if status < 300 and hub.takes_place("silence"):
            time.sleep(hub.silence)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(contents))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if status < 300 and hub.takes_place("cut"):
            contents = contents[: len(contents) // 2]
            self.close_connection = True
        with hub.lock:  # before the client has them, and looks
            hub.bytes_sent += len(contents)
        self.wfile.write(contents)


def point_huggingface_hub_at(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub talk to the server, with a cache that is empty."""
    here = {"ENDPOINT": hub.address, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": 0}
    here["HUGGINGFACE_CO_URL_TEMPLATE"] = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in here.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)


@contextmanager
def serving(files: dict[str, bytes], repository: str = "someone/tiny", book: bytes = b"") -> Iterator[Hub]:
    """A running hub, stopped at the end of the block."""
    hub = Hub(files, repository, book)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
