"""A model hub as a place that holds checkpoints, each a repository at one commit."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import build_hf_headers, validate_repo_id  # type: ignore[attr-defined]
from pydantic import BaseModel, Field, ValidationError

from goldilocks.checkpoints.client import Client, HttpFile, UnreachableError
from goldilocks.checkpoints.folders import INDEX, WHOLE_MODEL, Folder
from goldilocks.checkpoints.ranges import LocalFile, MissingError, RefusedError, Source, whole
from goldilocks.core.cli import UserError, plain

COMMIT = r"[0-9a-f]{40}"


class _Large(BaseModel):
    sha256: str


class _Sibling(BaseModel, regex_engine="python-re"):
    rfilename: Annotated[str, Field(pattern=r"^(?!(.*/)?\.\.(/|\Z))")]  # none above the repository
    blob_id: Annotated[str | None, Field(alias="blobId")] = None
    lfs: _Large | None = None


class Description(BaseModel):
    """What a hub says of a repository: its commit, and the files in it with their hashes."""

    sha: Annotated[str, Field(pattern=f"^{COMMIT}$")]
    siblings: list[_Sibling]

    @property
    def hashes(self) -> dict[str, str | None]:
        """SHA-256 of large files, Git's names of the others; None if the hub tells none."""
        return {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in self.siblings}


class HubFolder(Folder):
    """A repository of a model hub at one commit.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the hub's local cache have the meaning that `huggingface_hub` gives
    them. `Client` reads the hub's answers, because it limits their size and time.
    """

    def __init__(self, repository: str, revision: str, client: Client) -> None:
        self.repository, self.client = repository, client
        try:
            validate_repo_id(repository)
        except ValueError as error:
            raise UserError(f"{repository}: no such file or folder, and no repository's name: {error}") from None
        self.name = f"{repository}@{revision}" if revision else repository
        self._hashes: dict[str, str | None] | None = None
        self.revision = self._commit(revision or "main")

    def names(self) -> set[str] | None:
        return None if self._hashes is None else set(self._hashes)

    def source(self, name: str) -> Source:
        if cached := self._cached(name, self.revision):
            return LocalFile(cached, self.client.tally)
        return HttpFile(self._url(name), self.client, build_hf_headers())

    def text(self, name: str) -> bytes:
        """All of a small file, checked against the hub's own hash of it."""
        if cached := self._cached(name, self.revision):
            return whole(LocalFile(cached, self.client.tally))
        if self._hashes is not None and name not in self._hashes:
            raise MissingError(f"{self.name}: no {name} in it")
        contents = self.client.text(self._url(name), build_hf_headers())
        expected = (self._hashes or {}).get(name)
        if expected and expected not in (git_blob_hash(contents), hashlib.sha256(contents).hexdigest()):
            raise UserError(f"{self.name}: what arrived of {name} has another hash than the hub lists; try again")
        return contents

    def _url(self, name: str) -> str:
        if constants.HF_HUB_OFFLINE:
            raise MissingError(
                f"{self.name}: {name} is not in the hub's local cache, and HF_HUB_OFFLINE forbids to fetch it"
            )
        return hf_hub_url(self.repository, name, revision=self.revision)

    def _cached(self, name: str, revision: str) -> Path | None:
        path = try_to_load_from_cache(self.repository, name, revision=revision)
        return Path(path) if isinstance(path, str) else None

    def _commit(self, revision: str) -> str:
        """The commit of a revision, from the cache if the hub need not, must not or can't be asked."""
        file = self._cached(WHOLE_MODEL, revision) or self._cached(WHOLE_MODEL + INDEX, revision)
        cached = next(path.name for path in file.parents if path.parent.name == "snapshots") if file else ""
        if constants.HF_HUB_OFFLINE and not cached:
            raise UserError(f"{self.name}: not in the hub's local cache, and HF_HUB_OFFLINE forbids to ask the hub")
        if cached and (constants.HF_HUB_OFFLINE or re.fullmatch(COMMIT, revision)):
            return cached
        try:
            return self._resolve(revision)
        except UnreachableError as error:
            if not cached:
                raise
            print(plain(f"{error}; going on with the local cache, which has commit {cached}"), file=sys.stderr)
            return cached

    def _resolve(self, revision: str) -> str:
        """The commit that a branch, tag or commit means; remembers the names and hashes of the files in it."""
        url = f"{constants.ENDPOINT}/api/models/{self.repository}/revision/{quote(revision, safe='')}?blobs=true"
        try:
            said = Description.model_validate_json(self.client.text(url, build_hf_headers()))
        except (MissingError, RefusedError):
            what = "a repository with this revision" if "@" in self.name else "a repository"
            raise MissingError(
                f"{self.name}: neither a file or folder here nor {what} on the hub that you can see; check the name, "
                "and for a private one set HF_TOKEN"
            ) from None
        except ValidationError:
            raise UserError(f"{self.name}: the hub names no commit or no files") from None
        if re.fullmatch(COMMIT, revision) and said.sha != revision:
            raise UserError(f"{self.name}: the hub answered for commit {said.sha}")
        self._hashes = said.hashes
        return said.sha


def git_blob_hash(contents: bytes) -> str:
    """Git's name for a blob, which hubs use as the hash of small files."""
    return hashlib.sha1(b"blob %d\0" % len(contents) + contents, usedforsecurity=False).hexdigest()
