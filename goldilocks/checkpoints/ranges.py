"""Files that are read by ranges of bytes: local ones, and those behind an fsspec driver.

Each file knows its size, reads spans, counts requests and bytes, and notices a change of the file between two reads.
`goldilocks.checkpoints.http` has the file behind HTTP.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from goldilocks.core.cli import UserError

MAX_TEXT = 2**25  # bytes of a config.json, an index, or a hub's description of a repository
HEAD = 2**15  # bytes of the first read; most headers fit in
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LFS_PROBLEM = "a Git LFS pointer in place of the file; fetch it with git lfs pull"
SMALL_GAP = 2**15  # unneeded bytes that cost less than another request


class MissingError(UserError):
    """There is no such file."""


class RefusedError(UserError):
    """The server will not show it to us; it may not be there."""


class Span(NamedTuple):
    """Bytes start … stop - 1."""

    start: int
    stop: int


class Tally:
    """Requests made and bytes received, over all threads."""

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self._lock = threading.Lock()

    def add(self, requests: int, amount: int) -> None:
        with self._lock:
            self.requests += requests
            self.bytes += amount


class Source(Protocol):
    """A file to read spans of."""

    name: str
    """Where it is, for messages."""

    size: int
    """In bytes; known after `head`."""

    def head(self) -> bytes:
        """The first `HEAD` bytes, or the whole file if it is shorter."""

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, every span within the file.

        Raises:
            UserError: if they can't be had, or the file is not the one that `head` saw.
        """


def whole(source: Source) -> bytes:
    """All of a small file.

    Raises:
        UserError: if it has more than `MAX_TEXT` bytes, or can't be read.
    """
    first = source.head()
    if source.size > MAX_TEXT:
        raise UserError(f"{source.name}: {source.size:,} bytes, more than the {MAX_TEXT:,} that are read whole")
    return first + source.read([Span(len(first), source.size)])[0] if len(first) < source.size else first


def merge(spans: Sequence[Span]) -> list[Span]:
    """Sorted spans that cover the given ones; spans closer than `SMALL_GAP` become one."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start - merged[-1].stop <= SMALL_GAP:
            merged[-1] = Span(merged[-1].start, max(merged[-1].stop, span.stop))
        else:
            merged.append(span)
    return merged


def refuse_lfs_pointer(contents: bytes, name: str) -> None:
    """Refuse the small text that Git LFS leaves in place of a file it hasn't fetched.

    Raises:
        UserError: if `contents` begin such a text.
    """
    if contents.startswith(LFS_POINTER):
        raise UserError(f"{name}: {LFS_PROBLEM}")


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is such a text; False if it may not be read, which its reader reports."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def changed(name: str) -> UserError:
    return UserError(f"{name}: the file was replaced or cut while it was being read; try again")


def _identity(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class LocalFile:
    """A file on this machine."""

    def __init__(self, path: Path, tally: Tally) -> None:
        self.path, self.name, self.tally = path, str(path), tally
        self.size = 0
        self._identity: tuple[int, ...] = ()

    def head(self) -> bytes:
        with self.path.open("rb", buffering=0) as handle:
            self._identity = _identity(handle.fileno())
            self.size = os.fstat(handle.fileno()).st_size
            return self._span(handle.fileno(), Span(0, min(HEAD, self.size)))

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        with self.path.open("rb", buffering=0) as handle:
            parts = [self._span(handle.fileno(), span) for span in spans]
            if _identity(handle.fileno()) != self._identity:
                raise changed(self.name)
        return parts

    def _span(self, descriptor: int, span: Span) -> bytes:
        contents = os.pread(descriptor, span.stop - span.start, span.start)
        self.tally.add(1, len(contents))
        if len(contents) != span.stop - span.start:
            raise changed(self.name)
        return contents


class FsspecFile:
    """A file that an fsspec driver can open, such as s3://bucket/model.safetensors with s3fs installed."""

    def __init__(self, url: str, tally: Tally) -> None:
        import fsspec

        self.name, self.tally = url, tally
        self.size = 0
        self._etag: Any = None
        with self._failures():
            self._system, self._path = fsspec.core.url_to_fs(url)

    def head(self) -> bytes:
        self.size, self._etag = self._info()
        return self._spans([Span(0, min(HEAD, self.size))])[0]

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        parts = self._spans(spans)
        if self._info() != (self.size, self._etag):
            raise changed(self.name)
        return parts

    def _info(self) -> tuple[int, Any]:
        self.tally.add(1, 0)
        with self._failures():
            info = self._system.info(self._path)
        if info.get("type") != "file" or not isinstance(info.get("size"), int):
            raise UserError(f"{self.name}: not a file of known size")
        return info["size"], info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created")

    def _spans(self, spans: Sequence[Span]) -> list[bytes]:
        starts, stops = [span.start for span in spans], [span.stop for span in spans]
        with self._failures():
            parts: list[bytes] = self._system.cat_ranges([self._path] * len(spans), starts, stops, on_error="raise")
        for part, span in zip(parts, spans, strict=True):
            if len(part) != span.stop - span.start:
                raise changed(self.name)
            self.tally.add(1, len(part))
        return parts

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Of any driver, as one of ours."""
        try:
            yield
        except FileNotFoundError:
            raise MissingError(f"{self.name}: no such file") from None
        except PermissionError as error:
            raise RefusedError(f"{self.name}: access refused: {' '.join(str(error).split())}") from None
        except Exception as error:  # without its package, too, or with an address that is not enough
            raise UserError(f"{self.name}: {type(error).__name__}: {' '.join(str(error).split())}") from None
