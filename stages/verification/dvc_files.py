"""What a `dvc.lock` says: stages, and the hashes recorded of what each was made from and of what it made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stages.common import cli, params

LOCK = Path("dvc.lock")
ABLATIONS_LOCK = Path("ablations/dvc.lock")


class Entry(NamedTuple):
    """A path with the hash recorded for it, as an output or a dependency of a stage."""

    stage: str
    path: str
    md5: str


class DvcLock:
    """The stages of a `dvc.lock` in their order.

    Raises:
        UserError: if the file can't be read as one.
    """

    def __init__(self, path: Path) -> None:
        stages = params.read(path, largest=2**24).get("stages")
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


def overlap(path: str, other: str) -> bool:
    """Whether two paths are one, or one lies in the other."""
    return Path(path).is_relative_to(other) or Path(other).is_relative_to(path)
