"""A model hub as a place that holds checkpoints, each a repository at one commit."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import build_hf_headers, validate_repo_id  # type: ignore[attr-defined]

from goldilocks.checkpoints.client import Client, UnreachableError
from goldilocks.checkpoints.folders import INDEX, WHOLE_MODEL, Folder
from goldilocks.checkpoints.http import HttpFile
from goldilocks.checkpoints.ranges import LocalFile, MissingError, RefusedError, Source, whole
from goldilocks.core.cli import UserError, plain

COMMIT = re.compile(r"[0-9a-f]{40}")


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
        cached = self._cached_commit(revision)
        if constants.HF_HUB_OFFLINE and not cached:
            raise UserError(f"{self.name}: not in the hub's local cache, and HF_HUB_OFFLINE forbids to ask the hub")
        if cached and (constants.HF_HUB_OFFLINE or COMMIT.fullmatch(revision)):
            return cached
        try:
            return self._resolve(revision)
        except UnreachableError as error:
            if not cached:
                raise
            print(plain(f"{error}; going on with the local cache, which has commit {cached}"), file=sys.stderr)
            return cached

    def _cached_commit(self, revision: str) -> str:
        """The commit of a revision as the local cache has it; empty if it has none."""
        for name in (WHOLE_MODEL, WHOLE_MODEL + INDEX):
            if file := self._cached(name, revision):
                return next(path.name for path in file.parents if path.parent.name == "snapshots")
        return ""

    def _resolve(self, revision: str) -> str:
        """The commit that a branch, tag or commit means; remembers the names and hashes of the files in it."""
        url = f"{constants.ENDPOINT}/api/models/{self.repository}/revision/{quote(revision, safe='')}?blobs=true"
        try:
            contents = self.client.text(url, build_hf_headers())
        except (MissingError, RefusedError):
            what = "a repository with this revision" if "@" in self.name else "a repository"
            raise MissingError(
                f"{self.name}: neither a file or folder here nor {what} on the hub that you can see; check the name, "
                "and for a private one set HF_TOKEN"
            ) from None
        commit, self._hashes = parse_description(contents, self.name)
        if COMMIT.fullmatch(revision) and commit != revision:
            raise UserError(f"{self.name}: the hub answered for commit {commit}")
        return commit


def parse_description(contents: bytes, name: str) -> tuple[str, dict[str, str | None]]:
    """The commit and the hash of each file, from what a hub says of a repository.

    Raises:
        UserError: if it says something else.
    """
    hashes: dict[str, str | None] = {}
    try:
        description = json.loads(contents)
        commit = description["sha"]
        for entry in description["siblings"]:
            large = entry.get("lfs")
            hashes[entry["rfilename"]] = large["sha256"] if large else entry.get("blobId")
        good = COMMIT.fullmatch(commit) and not any(".." in file.split("/") for file in hashes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise UserError(f"{name}: the hub names no commit or no files")
    return commit, hashes


def git_blob_hash(contents: bytes) -> str:
    """Git's name for a blob, which hubs use as the hash of small files."""
    return hashlib.sha1(b"blob %d\0" % len(contents) + contents, usedforsecurity=False).hexdigest()
