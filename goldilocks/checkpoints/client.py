"""Files over HTTP, whole or by ranges, with time-outs and retries; every answer is checked, every failure is one line.

Temporary failures are retried, with waits that grow or that the server asks for. Requests run in daemon threads, so
that exiting never blocks on a server. A server may redirect in circles, ignore ranges, send others than were asked for,
or replace the file half-way.
"""

from __future__ import annotations

import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from multiprocessing.pool import ThreadPool
from typing import TypeVar

import httpx2

from goldilocks.checkpoints.ranges import HEAD, MAX_TEXT, MissingError, RefusedError, Tally, changed
from goldilocks.core.cli import UserError, plain, redacted

AT_ONCE = 8  # requests in flight
MAX_REDIRECTS = 5
FOLLOWED = {("http", "http"), ("http", "https"), ("https", "https")}  # redirects from one scheme to another
RETRIED_STATUSES = {408, 425, 429, 500, 502, 503, 504}
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0  # s, between two attempts
MAX_RETRY_AFTER = 60.0  # s; a server that asks for a longer wait is given up
ANNOUNCED_WAIT = 2.0  # s; longer waits are announced
SLOWEST = 2**12  # bytes/s; an answer that takes longer than its size at this rate and the time-out is given up

A = TypeVar("A")
T = TypeVar("T")


class UnreachableError(UserError):
    """A temporary failure lasted through all retries, or the server asks for too long a wait."""


class TransientError(Exception):
    """A failure that the next attempt may not have; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def submit(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread, which the end of the program doesn't wait for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def concurrent_map(work: Callable[[A], T], items: Sequence[A]) -> list[T]:
    """The results of `work` for every item, in order; raises the first failure at once and starts nothing more."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPool(min(AT_ONCE, len(items))) as pool:  # of daemon threads
        results = dict(pool.imap_unordered(lambda pair: (pair[0], work(pair[1])), enumerate(items)))
    return [results[n] for n in range(len(items))]


class Client:
    """Requests with a time-out and a bounded number of retries.

    Args:
        timeout: seconds without an answer, or without progress.
        retries: repeats of one failed request.
    """

    def __init__(self, timeout: float = 30.0, retries: int = 4) -> None:
        self.tally, self.timeout, self.retries = Tally(), timeout, retries
        self._http: httpx2.Client | None = None
        self._lock = threading.Lock()

    @property
    def http(self) -> httpx2.Client:
        """The connection pool, created on first use."""
        limits = httpx2.Limits(max_keepalive_connections=AT_ONCE, max_connections=AT_ONCE)
        try:
            with self._lock:
                self._http = self._http or httpx2.Client(
                    timeout=self.timeout, headers={"Accept-Encoding": "identity"}, limits=limits
                )
                return self._http
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise UserError(f"the proxy or certificates that the environment names can't be used: {error}") from None

    def retry(self, attempt: Callable[[], T], name: str) -> T:
        """Call `attempt` until it succeeds, at most `retries` more times, and return what it returns.

        Raises:
            UnreachableError: if the last attempt fails too.
        """
        n = 0
        while True:
            try:
                return attempt()
            except TransientError as error:
                if error.wait > MAX_RETRY_AFTER:
                    raise UnreachableError(f"{name}: {error}, and asks us to wait for {error.wait:,.0f} s") from error
                if n == self.retries:
                    tries = f" ({n + 1} attempts)" if n else ""
                    raise UnreachableError(f"{name}: {error}{tries}; check the address and the connection") from error
                wait = max(error.wait, min(FIRST_WAIT * 2**n * random.uniform(1, 2), LONGEST_WAIT))  # noqa: S311
                if wait > ANNOUNCED_WAIT:
                    print(plain(f"{name}: {error}; trying again in {wait:.0f} s"), file=sys.stderr)
                time.sleep(wait)
                n += 1

    def get(
        self, url: str, headers: Mapping[str, str], most: Callable[[httpx2.Response], int]
    ) -> tuple[httpx2.Response, bytes]:
        """One GET, redirects followed: the answer and its body.

        `Authorization` goes to the first host only.

        Args:
            most: how many bytes the body of an answer may have; or raises what is wrong with its headers.

        Raises:
            TransientError: if the network or the server failed in a way that may pass.
            UserError: if redirects go in circles or to another scheme, or the server refuses.
        """
        name = redacted(url)
        try:
            request = self.http.build_request("GET", url, headers=headers)
            for _ in range(1 + MAX_REDIRECTS):
                with closing(self._send(request)) as response:
                    if not response.has_redirect_location:
                        _check_status(response, name)
                        return response, b"".join(self._body(response, most(response)))
                    request = _redirected(response, name)
        except httpx2.TransportError as error:
            raise TransientError(" ".join(str(error).split()) or type(error).__name__) from error
        except (httpx2.InvalidURL, UnicodeError) as error:  # of a name that no host can have, too
            raise UserError(f"{name}: {error}") from None
        raise UserError(f"{name}: redirects in circles")

    def _send(self, request: httpx2.Request) -> httpx2.Response:
        """The response with its headers read; one deadline holds for all headers, however slowly they drip."""
        self.tally.add(1, 0)
        http, most = self.http, 2 * self.timeout
        answer = submit(lambda: http.send(request, stream=True))
        try:
            return answer.result(timeout=most)
        except TimeoutError:
            answer.add_done_callback(_close)
            raise TransientError(f"no answer in {most:g} s") from None

    def _body(self, response: httpx2.Response, most: int) -> Iterator[bytes]:
        """The bytes of an answer as they arrive; too many or too slow ones are refused."""
        started, got, name = time.monotonic(), 0, redacted(str(response.url))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UserError(f"{name}: compressed on the way, although that was not asked for")
        for part in response.iter_raw():
            got += len(part)
            self.tally.add(0, len(part))
            if got > most:
                raise UserError(f"{name}: more than the {most} bytes that there should be")
            if time.monotonic() - started > self.timeout + got / SLOWEST:
                raise TransientError(f"only {got} bytes in {time.monotonic() - started:.0f} s")
            yield part

    def text(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The whole of a small file.

        Raises:
            MissingError: if there is no such file.
            UserError: if it can't be read, or has more than `MAX_TEXT` bytes.
        """

        def most(response: httpx2.Response) -> int:
            if response.status_code != 200:
                raise UserError(f"{redacted(url)}: asked for all of it, the server says {response.status_code}")
            return MAX_TEXT

        return self.retry(lambda: self.get(url, headers or {}, most)[1], redacted(url))


def _close(late: Future[httpx2.Response]) -> None:
    if late.exception() is None:
        late.result().close()


def _redirected(response: httpx2.Response, name: str) -> httpx2.Request:
    """The request that a redirect asks for; httpx leaves `Authorization` out of one to another host."""
    request = response.next_request
    if request is None or request.url.userinfo or (response.url.scheme, request.url.scheme) not in FOLLOWED:
        raise UserError(f"{name}: redirects to another scheme or with a password, which is not followed")
    return request


def _check_status(response: httpx2.Response, name: str) -> None:
    """Raise an exception for an error status, with what to do about it."""
    status = response.status_code
    if status in RETRIED_STATUSES:
        asked = response.headers.get("Retry-After", "")  # may be a date, too, for which our own wait has to do
        wait = float(asked) if asked.isdecimal() else 0.0
        raise TransientError(f"the server says {status} {response.reason_phrase}", wait)
    if status in (404, 410):
        raise MissingError(f"{name}: no such file ({status})")
    if status in (401, 403):
        raise RefusedError(f"{name}: access refused ({status}); for a private or gated model set HF_TOKEN")
    if status not in (200, 206, 416):
        raise UserError(f"{name}: the server says {status} {response.reason_phrase}")


def web_page(name: str) -> RefusedError:
    """The error for a server that answers with a page and status 200 where it has no file."""
    return RefusedError(f"{name}: the server sends a web page in place of the file")


class HttpFile:
    """A file on a web server.

    Args:
        headers: sent with every request to the server that `url` names.
    """

    def __init__(self, url: str, client: Client, headers: Mapping[str, str] | None = None) -> None:
        self.name, self.url, self.client, self.headers = redacted(url), url, client, dict(headers or {})
        self.size = 0
        self.etag: str | None = None
        self._direct = url  # where the redirects led

    def head(self) -> bytes:
        return self._span(range(HEAD))

    def read(self, spans: Sequence[range]) -> list[bytes]:
        return concurrent_map(self._span, spans)

    def _span(self, span: range) -> bytes:
        return self.client.retry(lambda: self._request(span), self.name)

    def _request(self, span: range) -> bytes:
        """One request for a span; the first one learns the file's size, and may receive less than it asks for."""
        address = self._direct  # read once: another thread may set it meanwhile
        headers = (self.headers if address == self.url else {}) | {"Range": f"bytes={span.start}-{span.stop - 1}"}
        try:
            response, contents = self.client.get(address, headers, lambda response: self._length(response, span))
        except (MissingError, RefusedError) as error:
            if address == self.url:
                raise
            self._direct = self.url  # the address that a redirect led to has expired
            raise TransientError(str(error)) from error
        if len(contents) != (asked := min(span.stop, self.size) - span.start):
            raise TransientError(f"{len(contents)} bytes came of the {asked} asked for")
        self._direct = str(response.url)
        return contents

    def _length(self, response: httpx2.Response, span: range) -> int:
        """How many bytes an answer has, which must be this span of this file."""
        if response.status_code == 416:
            raise changed(self.name) if self.size else UserError(f"{self.name}: the file is empty")
        if response.status_code == 200 and response.headers.get("Content-Type", "").startswith("text/html"):
            raise web_page(self.name)
        if response.status_code == 200:
            raise UserError(f"{self.name}: the server ignores ranges and would send the whole file; download it")
        content_range = re.fullmatch(
            r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", response.headers.get("Content-Range", "")
        )
        if not content_range:
            raise UserError(f"{self.name}: the server does not say which part of how large a file it sends")
        first, last, size = (int(number) for number in content_range.groups())
        etag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self.size and (size, etag) != (self.size, self.etag):
            raise changed(self.name)
        stop = min(span.stop, size)
        if (first, last + 1) != (span.start, stop):
            raise UserError(f"{self.name}: asked for bytes {span.start}-{stop - 1}, the server sends {first}-{last}")
        self.size, self.etag = size, etag
        return stop - span.start
