"""Ranges of a file over HTTP, every answer checked.

A server may be slow, cut connections, ignore ranges, send others than were asked for, replace the file half-way, or
send us round in circles. What may pass is tried again, waiting longer each time; all else is told in one line.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import httpx2

from stages.common.cli import UserError
from stages.survey.ranges import HEAD, Advance, LocalFile, MissingError, Span, Tally, changed, ignore
from stages.survey.threads import AT_ONCE, each

MOST_REDIRECTS = 5
FOLLOWED = {("http", "http"), ("http", "https"), ("https", "https")}  # redirects from one scheme to another
WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0  # s, between two attempts
SLOWEST = 2**12  # bytes/s; an answer that takes longer than its size at this rate and the time-out is given up
LARGEST_TEXT = 2**26  # bytes of a config.json or an index

T = TypeVar("T")


class RefusedError(UserError):
    """The server will not show it to us."""


class PassingError(Exception):
    """A failure that may be gone at the next attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class RangesIgnoredError(UserError):
    """The server sends the whole file, whatever part of it was asked for."""


class Client:
    """Requests with a time-out and a bounded number of retries.

    Args:
        timeout: seconds without an answer, or without progress.
        retries: repeats of one failed request.
        whole: bytes that a file may have to be fetched whole from a server that ignores ranges.
    """

    def __init__(self, tally: Tally, timeout: float = 30.0, retries: int = 4, whole: int = 0) -> None:
        self.tally, self.timeout, self.retries, self.whole = tally, timeout, retries, whole

    @cached_property
    def http(self) -> httpx2.Client:
        limits = httpx2.Limits(max_keepalive_connections=AT_ONCE, max_connections=AT_ONCE)
        try:
            return httpx2.Client(timeout=self.timeout, headers={"Accept-Encoding": "identity"}, limits=limits)
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise UserError(f"the proxy or certificates that the environment names can't be used: {error}") from None

    def again(self, attempt: Callable[[], T], url: str) -> T:
        """What `attempt` returns, if need be after `retries` repeats.

        Raises:
            UserError: if the last one failed too.
        """
        for n in range(self.retries + 1):
            try:
                return attempt()
            except PassingError as error:
                if n == self.retries:
                    tries = f" ({n + 1} attempts)" if n else ""
                    raise UserError(f"{url}: {error}{tries}; check the address and the connection") from error
                wait = FIRST_WAIT * 2**n * random.uniform(1, 2)  # noqa: S311
                time.sleep(min(max(error.wait, wait), LONGEST_WAIT))
        raise AssertionError("unreachable")

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The answer to a GET, redirects followed, its body still to be read.

        `Authorization` goes to the first host only.

        Raises:
            PassingError: if the network or the server failed in a way that may pass.
            UserError: if redirects go in circles or to another scheme, or the server refuses.
        """
        visited, headers = {url}, dict(headers)
        here = url
        try:
            while True:
                self.tally.add(1, 0)
                with self.http.stream("GET", here, headers=headers) as response:
                    if not response.has_redirect_location:
                        _check(response, url)
                        yield response
                        return
                    there = response.url.join(response.headers["Location"])
                if (response.url.scheme, there.scheme) not in FOLLOWED:
                    raise UserError(f"{url}: redirects to {there.scheme}:, which is not followed")
                if (response.url.host, response.url.port) != (there.host, there.port):
                    headers.pop("Authorization", None)
                here = str(there)
                if here in visited or len(visited) > MOST_REDIRECTS:
                    raise UserError(f"{url}: redirects in circles")
                visited.add(here)
        except httpx2.TransportError as error:
            raise PassingError(" ".join(str(error).split()) or type(error).__name__) from error
        except (httpx2.InvalidURL, UnicodeError) as error:  # of a name that no host can have, too
            raise UserError(f"{url}: {error}") from None

    def body(self, response: httpx2.Response, most: int) -> Iterator[bytes]:
        """The bytes of an answer as they arrive, `most` of them at most.

        Raises:
            PassingError: if they arrive too slowly.
            UserError: if there are more.
        """
        started, got = time.monotonic(), 0
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UserError(f"{response.url}: compressed on the way, although that was not asked for")
        for part in response.iter_raw():
            got += len(part)
            self.tally.add(0, len(part))
            if got > most:
                raise UserError(f"{response.url}: more than the {most} bytes that there should be")
            if time.monotonic() - started > self.timeout + got / SLOWEST:
                raise PassingError(f"only {got} bytes in {time.monotonic() - started:.0f} s")
            yield part

    def text(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """All of a small file.

        Raises:
            MissingError: if there is none.
            UserError: if it can't be had, or has more than `LARGEST_TEXT` bytes.
        """

        def attempt() -> bytes:
            with self.get(url, headers or {}) as response:
                if response.status_code != 200:
                    raise UserError(f"{url}: asked for all of it, the server says {response.status_code}")
                return b"".join(self.body(response, LARGEST_TEXT))

        return self.again(attempt, url)


def _check(response: httpx2.Response, url: str) -> None:
    """Turn an error's status into an exception that says what to do."""
    status = response.status_code
    if status in WORTH_RETRYING:
        asked = response.headers.get("Retry-After", "")
        raise PassingError(
            f"the server says {status} {response.reason_phrase}", float(asked) if asked.isdecimal() else 0.0
        )
    if status in (404, 410):
        raise MissingError(f"{url}: no such file ({status})")
    if status in (401, 403):
        raise RefusedError(f"{url}: access refused ({status}); for a private or gated model set HF_TOKEN")
    if status not in (200, 206, 416):
        raise UserError(f"{url}: the server says {status} {response.reason_phrase}")


class HttpFile:
    """A file on a web server.

    Args:
        headers: sent with every request to the server that `url` names.
    """

    def __init__(self, url: str, client: Client, headers: Mapping[str, str] | None = None) -> None:
        self.name, self.client, self.headers = url, client, dict(headers or {})
        self.size = 0
        self.etag: str | None = None
        self._direct = url  # where the redirects led
        self._copy: LocalFile | None = None

    def head(self) -> bytes:
        try:
            return self.client.again(lambda: self._attempt(Span(0, HEAD), ignore), self.name)
        except RangesIgnoredError:
            if not self.client.whole:
                raise
        self._copy = self.client.again(self._download, self.name)
        self.size = self._copy.path.stat().st_size
        return self._copy.head()

    def read(self, spans: Sequence[Span], advance: Advance = ignore) -> list[bytes]:
        if self._copy:
            return self._copy.read(spans, advance)

        def one(span: Span) -> bytes:
            return self.client.again(lambda: self._attempt(span, advance), self.name)

        return each(one, spans)

    def _attempt(self, span: Span, advance: Advance) -> bytes:
        """One request for a span; the first one finds the size out, and may get less than it asked for."""
        wanted = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        own = self.headers if self._direct == self.name else {}
        try:
            with self.client.get(self._direct, own | wanted) as response:
                stop = self._accept(response, span)
                parts = list(self.client.body(response, stop - span.start))
                direct = str(response.url)
        except (MissingError, RefusedError) as error:
            if self._direct == self.name:
                raise
            self._direct = self.name  # the address that a redirect led to has expired
            raise PassingError(str(error)) from error
        found = b"".join(parts)
        if len(found) != stop - span.start:
            raise PassingError(f"{len(found)} bytes came of the {stop - span.start} asked for")
        self._direct = direct
        advance(len(found))
        return found

    def _accept(self, response: httpx2.Response, span: Span) -> int:
        """Check that the answer is this span of this file, and return where it ends."""
        if response.status_code == 416:
            raise changed(self.name) if self.size else UserError(f"{self.name}: the file is empty")
        if response.status_code == 200:
            raise RangesIgnoredError(
                f"{self.name}: the server ignores ranges and would send the whole file; "
                "download it, or allow that with --whole MEGABYTES"
            )
        told = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", response.headers.get("Content-Range", ""))
        if not told:
            raise UserError(f"{self.name}: the server does not say which part of how large a file it sends")
        first, last, size = (int(number) for number in told.groups())
        etag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self.size and (size, etag) != (self.size, self.etag):
            raise changed(self.name)
        stop = min(span.stop, size)
        if (first, last + 1) != (span.start, stop):
            raise UserError(f"{self.name}: asked for bytes {span.start}-{stop - 1}, the server sends {first}-{last}")
        self.size, self.etag = size, etag
        return stop

    def _download(self) -> LocalFile:
        """The whole file, in a temporary one that has no name on the disk."""
        whole = self.client.whole
        with self.client.get(self.name, self.headers) as response:
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) > whole:
                raise UserError(f"{self.name}: {int(length):,} bytes, --whole allows {whole:,}; download it yourself")
            self._file = tempfile.NamedTemporaryFile(suffix=".safetensors")  # noqa: SIM115 - lives as long as we do
            for part in self.client.body(response, whole):
                self._file.write(part)
            self._file.flush()
        return LocalFile(Path(self._file.name), Tally())
