"""Places that hold checkpoints: a local folder, a web server, or any scheme that fsspec has a driver for.

Each opens its files for reading by ranges, and reads small texts whole. No content is parsed here.
`goldilocks.checkpoints.hub` has the place on a model hub.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from goldilocks.checkpoints.client import Client, HttpFile, web_page
from goldilocks.checkpoints.ranges import FsspecFile, LocalFile, MissingError, Source, Tally, whole

SAFETENSORS, INDEX = ".safetensors", ".index.json"  # ends of names: of tensors, of the index of several such files
WHOLE_MODEL = f"model{SAFETENSORS}"


class Folder(ABC):
    """A place that holds the files of one checkpoint."""

    name: str
    """Its name for the user."""

    revision = ""
    """The commit, where there is such a thing."""

    def names(self) -> set[str] | None:
        """The names of the files in it; None if it can't tell."""
        return None

    @abstractmethod
    def source(self, name: str) -> Source:
        """The file of this name, to be read by ranges."""

    def text(self, name: str) -> bytes:
        """All of a small file.

        Raises:
            MissingError: if there is none.
        """
        return whole(self.source(name))


class LocalFolder(Folder):
    def __init__(self, path: Path, tally: Tally) -> None:
        self.path, self.name, self.tally = path, str(path), tally

    def names(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir()}

    def source(self, name: str) -> LocalFile:
        path = self.path / name
        if not path.is_file():
            raise MissingError(f"{path}: no such file")
        return LocalFile(path, self.tally)


class HttpFolder(Folder):
    """A folder of a web server.

    Args:
        query: follows the name in an address; such an address is signed, and good for one file.
    """

    def __init__(self, url: str, client: Client, query: str = "") -> None:
        self.name, self.client, self.query = url, client, query

    def source(self, name: str) -> HttpFile:
        return HttpFile(f"{self.name}/{name}{self.query}", self.client)

    def text(self, name: str) -> bytes:
        if self.query:
            raise MissingError(f"{self.name}/{name}: can't be asked for with the signature of another file")
        contents = self.client.text(f"{self.name}/{name}")
        if contents.lstrip()[:1] == b"<":
            raise web_page(f"{self.name}/{name}")
        return contents


class FsspecFolder(Folder):
    """A folder behind a URL such as s3://bucket/folder."""

    def __init__(self, url: str, tally: Tally) -> None:
        self.name, self.tally = url, tally

    def source(self, name: str) -> FsspecFile:
        return FsspecFile(f"{self.name}/{name}", self.tally)
