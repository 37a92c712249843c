"""Ranges of a file over HTTP, every answer checked.

A server may ignore ranges, send others than were asked for, or replace the file half-way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import httpx2

from goldilocks.checkpoints.client import Client, TransientError, concurrent_map
from goldilocks.checkpoints.ranges import HEAD, MissingError, RefusedError, Span, changed
from goldilocks.core.cli import UserError, redacted


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
        return self._span(Span(0, HEAD))

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        return concurrent_map(self._span, spans)

    def _span(self, span: Span) -> bytes:
        return self.client.retry(lambda: self._request(span), self.name)

    def _request(self, span: Span) -> bytes:
        """One request for a span; the first one learns the file's size, and may receive less than it asks for."""
        address = self._direct  # read once: another thread may set it meanwhile
        headers = (self.headers if address == self.url else {}) | {"Range": f"bytes={span.start}-{span.stop - 1}"}
        try:
            with self.client.get(address, headers) as response:
                stop = self._check_range(response, span)
                parts = list(self.client.body(response, stop - span.start))
                direct = str(response.url)
        except (MissingError, RefusedError) as error:
            if address == self.url:
                raise
            self._direct = self.url  # the address that a redirect led to has expired
            raise TransientError(str(error)) from error
        contents = b"".join(parts)
        if len(contents) != stop - span.start:
            raise TransientError(f"{len(contents)} bytes came of the {stop - span.start} asked for")
        self._direct = direct
        return contents

    def _check_range(self, response: httpx2.Response, span: Span) -> int:
        """Check that the answer is this span of this file, and return where it ends."""
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
        return stop
