"""Files that are read by ranges of bytes: local ones, and those behind an fsspec driver.

Each file knows its size, reads spans, counts requests and bytes, and notices a change of the file between two reads.
`goldilocks.checkpoints.client` has the file behind HTTP.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from goldilocks.core.cli import UserError

MAX_TEXT = 2**25  # bytes of a config.json, an index, or a hub's description of a repository
HEAD = 2**15  # bytes of the first read; most headers fit in
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LFS_PROBLEM = "a Git LFS pointer in place of the file; fetch it with git lfs pull"


class MissingError(UserError):
    """There is no such file."""


class RefusedError(UserError):
    """The server will not show it to us; it may not be there."""


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
    """A file to read spans of, each a range of bytes."""

    name: str
    """Where it is, for messages."""

    size: int
    """In bytes; known after `head`."""

    def head(self) -> bytes:
        """The first `HEAD` bytes, or the whole file if it is shorter."""

    def read(self, spans: Sequence[range]) -> list[bytes]:
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
    return first + source.read([range(len(first), source.size)])[0] if len(first) < source.size else first


def refuse_lfs_pointer(contents: bytes, name: str) -> None:
    """Refuse the small text that Git LFS leaves in place of a file it hasn't fetched.

    Raises:
        UserError: if `contents` begin such a text.
    """
    if contents.startswith(LFS_POINTER):
        raise UserError(f"{name}: {LFS_PROBLEM}")


def changed(name: str) -> UserError:
    return UserError(f"{name}: the file was replaced or cut while it was being read; try again")


class _File(ABC):
    """A file whose state can be asked for: its size first, then what tells it from another file."""

    def __init__(self, name: str, tally: Tally) -> None:
        self.name, self.tally, self.size = name, tally, 0

    def head(self) -> bytes:
        self._seen = self._state()
        self.size = self._seen[0]
        return self._parts([range(min(HEAD, self.size))])[0]

    def read(self, spans: Sequence[range]) -> list[bytes]:
        parts = self._parts(spans)
        if self._state() != self._seen:
            raise changed(self.name)
        return parts

    def _parts(self, spans: Sequence[range]) -> list[bytes]:
        parts = self._read(spans)
        if any(len(part) != len(span) for part, span in zip(parts, spans, strict=True)):
            raise changed(self.name)
        self.tally.add(len(parts), sum(map(len, parts)))
        return parts

    @abstractmethod
    def _state(self) -> tuple[int, *tuple[Any, ...]]: ...

    @abstractmethod
    def _read(self, spans: Sequence[range]) -> list[bytes]: ...


class LocalFile(_File):
    """A file on this machine."""

    def __init__(self, path: Path, tally: Tally) -> None:
        super().__init__(str(path), tally)
        self.path = path

    def _state(self) -> tuple[int, *tuple[Any, ...]]:
        status = self.path.stat()
        return status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns

    def _read(self, spans: Sequence[range]) -> list[bytes]:
        with self.path.open("rb", buffering=0) as handle:
            return [os.pread(handle.fileno(), len(span), span.start) for span in spans]


class FsspecFile(_File):
    """A file that an fsspec driver can open, such as s3://bucket/model.safetensors with s3fs installed."""

    def __init__(self, url: str, tally: Tally) -> None:
        import fsspec

        super().__init__(url, tally)
        with self._failures():
            self._system, self._path = fsspec.core.url_to_fs(url)

    def _state(self) -> tuple[int, *tuple[Any, ...]]:
        self.tally.add(1, 0)
        with self._failures():
            info = self._system.info(self._path)
        if info.get("type") != "file" or not isinstance(info.get("size"), int):
            raise UserError(f"{self.name}: not a file of known size")
        return info["size"], info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created")

    def _read(self, spans: Sequence[range]) -> list[bytes]:
        asked = [self._path] * len(spans), [span.start for span in spans], [span.stop for span in spans]
        with self._failures():
            parts: list[bytes] = self._system.cat_ranges(*asked, on_error="raise")
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
