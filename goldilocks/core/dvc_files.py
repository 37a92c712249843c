"""The entries of a `dvc.lock`, and DVC's hashes of files and folders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from goldilocks.core import cli, files, params

LOCK = Path("dvc.lock")
ABLATIONS_LOCK = Path("ablations/dvc.lock")
HEAD = re.compile(r"schema: '2\.0'\nstages:\n(?=  \S)")
LARGEST = 2**24  # bytes of a `dvc.lock`


def md5(path: Path) -> str:
    """The hash that DVC 3 records for a file or a folder."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "md5").hexdigest()
    found = sorted((entry.relative_to(path).as_posix(), entry) for entry in path.rglob("*") if entry.is_file())
    listed = json.dumps([{"md5": md5(entry), "relpath": name} for name, entry in found])
    return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest() + ".dir"


def blocks(text: str) -> dict[str, str]:
    """The text of each stage in a `dvc.lock` that DVC wrote, by name; empty for a text of another form."""
    head = HEAD.match(text)
    found = re.split(r"^(?=  \S)", text[head.end() :], flags=re.MULTILINE)[1:] if head else []
    return {block.split(":\n", 1)[0].strip(" '\""): block for block in found}


def keep_only(lock: Path, names: Iterable[str]) -> None:
    """Reduce a `dvc.lock` to these stages, in this order."""
    text = lock.read_text("utf-8") if lock.is_file() else ""
    found = blocks(text)
    kept = [found[name] for name in names if name in found]
    if kept and kept != list(found.values()):
        files.write_text(lock, HEAD.match(text)[0] + "".join(kept))  # type: ignore[index]


def hashes(text: str) -> set[str]:
    """Every hash in a `dvc.lock`."""
    return set(re.findall(r"md5: '?([0-9a-f]{32}(?:\.dir)?)", text))


class Entry(NamedTuple):
    """A path with the hash recorded for it, as an output or a dependency of a stage."""

    stage: str
    path: str
    md5: str


class DvcLock:
    """The stages of a `dvc.lock`, however it is formatted, in their order.

    Raises:
        UserError: if the file can't be read as one.
    """

    def __init__(self, path: Path) -> None:
        stages = params.read(path, LARGEST).get("stages")
        if not isinstance(stages, dict):
            raise cli.UserError(f"{path}: names no stages; run make repro and commit it")
        self.stages: dict[str, dict[str, Any]] = stages

    def entries(self, kind: str) -> Iterator[Entry]:
        """Every entry under `deps` or `outs`."""
        for stage, recorded in self.stages.items():
            for entry in recorded.get(kind, []):
                yield Entry(stage, entry["path"], entry["md5"])

    def outputs(self) -> dict[str, Entry]:
        """Every output by its path."""
        return {entry.path: entry for entry in self.entries("outs")}


def paths_overlap(path: str, other: str) -> bool:
    """Whether two paths are the same, or one lies in the other."""
    return Path(path).is_relative_to(other) or Path(other).is_relative_to(path)
