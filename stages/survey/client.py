"""Requests to web servers: with time-outs, retries, redirects followed with care, and every failure told in one line.

A server may be slow, cut connections or send us round in circles. What may pass is tried again, after waiting longer
each time, or as long as the server asks.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

from stages.common.cli import UserError, plain, redacted
from stages.survey.ranges import Bar, MissingError, Tally, no_bar
from stages.survey.threads import AT_ONCE, begin

MOST_REDIRECTS = 5
FOLLOWED = {("http", "http"), ("http", "https"), ("https", "https")}  # redirects from one scheme to another
WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0  # s, between two attempts
LONGEST_ASKED = 60.0  # s; servers that ask for more are not waited for
TOLD_WAIT = 2.0  # s; longer waits are told
SLOWEST = 2**12  # bytes/s; an answer that takes longer than its size at this rate and the time-out is given up
LARGEST_TEXT = 2**25  # bytes of a config.json, an index, or what a hub says of a repository

T = TypeVar("T")


class RefusedError(UserError):
    """The server will not show it to us."""


class UnreachableError(UserError):
    """What may pass did not, however often it was tried or as long as we wait."""


class TransientError(Exception):
    """A failure that may be gone at the next attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Client:
    """Requests with a time-out and a bounded number of retries.

    Args:
        timeout: seconds without an answer, or without progress.
        retries: repeats of one failed request.
        whole: bytes that a file may have to be fetched whole from a server that ignores ranges.
        bar: makes a progress bar for such a file.
    """

    def __init__(
        self, tally: Tally, timeout: float = 30.0, retries: int = 4, whole: int = 0, bar: Bar = no_bar
    ) -> None:
        self.tally, self.timeout, self.retries, self.whole, self.bar = tally, timeout, retries, whole, bar
        self._http: httpx2.Client | None = None
        self._lock = threading.Lock()

    @property
    def http(self) -> httpx2.Client:
        """The connections, made when the first one is needed."""
        limits = httpx2.Limits(max_keepalive_connections=AT_ONCE, max_connections=AT_ONCE)
        try:
            with self._lock:
                self._http = self._http or httpx2.Client(
                    timeout=self.timeout, headers={"Accept-Encoding": "identity"}, limits=limits
                )
                return self._http
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise UserError(f"the proxy or certificates that the environment names can't be used: {error}") from None

    def again(self, attempt: Callable[[], T], name: str) -> T:
        """What `attempt` returns, if need be after `retries` repeats.

        Raises:
            UnreachableError: if the last one failed too.
        """
        for n in range(self.retries + 1):
            try:
                return attempt()
            except TransientError as error:
                if n == self.retries:
                    tries = f" ({n + 1} attempts)" if n else ""
                    raise UnreachableError(f"{name}: {error}{tries}; check the address and the connection") from error
                if error.wait > LONGEST_ASKED:
                    raise UnreachableError(f"{name}: {error}, and asks us to wait for {error.wait:,.0f} s") from error
                own = min(FIRST_WAIT * 2**n * random.uniform(1, 2), LONGEST_WAIT)  # noqa: S311
                wait = max(error.wait, own)
                if wait > TOLD_WAIT:
                    print(plain(f"{name}: {error}; trying again in {wait:.0f} s"), file=sys.stderr)
                time.sleep(wait)
        raise AssertionError("unreachable")

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The answer to a GET, redirects followed, its body still to be read.

        `Authorization` goes to the first host only.

        Raises:
            TransientError: if the network or the server failed in a way that may pass.
            UserError: if redirects go in circles or to another scheme, or the server refuses.
        """
        visited, headers = {url}, dict(headers)
        here, name = url, redacted(url)
        try:
            while True:
                self.tally.add(1, 0)
                with self._answer(here, headers) as response:
                    if not response.has_redirect_location:
                        _check(response, name)
                        yield response
                        return
                    there = response.url.join(response.headers["Location"])
                if (response.url.scheme, there.scheme) not in FOLLOWED:
                    raise UserError(f"{name}: redirects to {there.scheme}:, which is not followed")
                if there.userinfo:
                    raise UserError(f"{name}: redirects to an address with a password, which is not followed")
                if (response.url.host, response.url.port) != (there.host, there.port):
                    headers.pop("Authorization", None)
                here = str(there)
                if here in visited or len(visited) > MOST_REDIRECTS:
                    raise UserError(f"{name}: redirects in circles")
                visited.add(here)
        except httpx2.TransportError as error:
            raise TransientError(" ".join(str(error).split()) or type(error).__name__) from error
        except (httpx2.InvalidURL, UnicodeError) as error:  # of a name that no host can have, too
            raise UserError(f"{name}: {error}") from None

    @contextmanager
    def _answer(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The beginning of an answer, waited for in all, however slowly a server sends it line by line."""
        http, most = self.http, 2 * self.timeout
        request = http.build_request("GET", url, headers=headers)
        answer = begin(lambda: http.send(request, stream=True))
        try:
            response = answer.result(timeout=most)
        except TimeoutError:
            answer.add_done_callback(_close)
            raise TransientError(f"no answer in {most:g} s") from None
        try:
            yield response
        finally:
            response.close()

    def body(self, response: httpx2.Response, most: int) -> Iterator[bytes]:
        """The bytes of an answer as they arrive, `most` of them at most.

        Raises:
            TransientError: if they arrive too slowly.
            UserError: if there are more.
        """
        started, got = time.monotonic(), 0
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UserError(f"{redacted(str(response.url))}: compressed on the way, although that was not asked for")
        for part in response.iter_raw():
            got += len(part)
            self.tally.add(0, len(part))
            if got > most:
                raise UserError(f"{redacted(str(response.url))}: more than the {most} bytes that there should be")
            if time.monotonic() - started > self.timeout + got / SLOWEST:
                raise TransientError(f"only {got} bytes in {time.monotonic() - started:.0f} s")
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
                    raise UserError(f"{redacted(url)}: asked for all of it, the server says {response.status_code}")
                return b"".join(self.body(response, LARGEST_TEXT))

        return self.again(attempt, redacted(url))


def _close(answer: Future[httpx2.Response]) -> None:
    """Close an answer that came too late."""
    with suppress(Exception):
        answer.result().close()


def asked_to_wait(headers: Mapping[str, str]) -> float:
    """The seconds that `Retry-After` names, as a number or a date; 0 if it names none."""
    asked = headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    try:
        then = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):
        return 0.0
    return max((then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def _check(response: httpx2.Response, name: str) -> None:
    """Turn an error's status into an exception that says what to do."""
    status = response.status_code
    if status in WORTH_RETRYING:
        raise TransientError(f"the server says {status} {response.reason_phrase}", asked_to_wait(response.headers))
    if status in (404, 410):
        raise MissingError(f"{name}: no such file ({status})")
    if status in (401, 403):
        raise RefusedError(f"{name}: access refused ({status}); for a private or gated model set HF_TOKEN")
    if status not in (200, 206, 416):
        raise UserError(f"{name}: the server says {status} {response.reason_phrase}")
