"""Check by hashes alone, without a rebuild, that the commit is consistent.

DVC compares code, parameters, versions and reports with `dvc.lock`. Data that is not in git is followed through the
hashes: each dependency must be the output recorded for the stage that makes it, in the ablations' `dvc.lock` too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from goldilocks.core import checksums
from goldilocks.core.dvc_files import LOCK, DvcLock
from stages.check import BUILT_ON
from tools.scheduling.pipeline import ABLATIONS, PROJECT
from tools.verification.clone import Clone

REPORTS = Path("reports")
NOT_IN_GIT = {"deleted", "not in cache"}


def problems(clone: Clone, stages: Sequence[str]) -> list[str]:
    """A line for each inconsistency in a clone; empty if there is none.

    Args:
        stages: those to ask DVC about, with what they need; all, and the ablations, if empty.
    """
    targets = ["--with-deps", *stages] if stages else []
    tracked = clone.run("git", "ls-files", "-z").split("\0")
    roots = [PROJECT] if stages else [PROJECT, ABLATIONS]
    locks = [DvcLock(clone.folder / root / LOCK) for root in roots]
    return [
        *(line for root in roots for line in changes(clone, root, targets)),
        *broken_links(locks),
        *unclaimed(locks[0], tracked),
        *broken_seals(clone.folder),
    ]


def changes(clone: Clone, root: Path, targets: Sequence[str]) -> Iterator[str]:
    """What DVC finds changed in a repository of a clone; data that is only absent, since it is not in git, has not."""
    status: dict[str, list[Any]] = json.loads(clone.run("dvc", "--cd", str(root), "status", "--json", *targets))
    for stage, found in status.items():
        for change in found:
            if isinstance(change, str):
                yield f"{stage}: {change} since dvc.lock was written"
                continue
            for kind, paths in change.items():
                for named, what in (paths or {"": "changed"}).items():
                    path = os.path.relpath(clone.folder / root / named, clone.folder) if named else ""
                    if isinstance(what, dict):  # parameters of a file
                        yield from (f"{stage}: {path}: {key} is {of}, dvc.lock has another" for key, of in what.items())
                    elif not (what in NOT_IN_GIT and path.startswith("data/")):
                        yield f"{stage}: {kind}: {path} {what} since dvc.lock was written"


def broken_links(locks: Sequence[DvcLock]) -> Iterator[str]:
    """Dependencies recorded with another hash than the output that they are."""
    made = {path: entry for lock in locks for path, entry in lock.outputs().items()}
    other: dict[str, list[str]] = {}
    for dependency in (entry for lock in locks for entry in lock.entries("deps")):
        output = made.get(dependency.path)
        if output and output.md5 != dependency.md5:
            other.setdefault(dependency.path, []).append(dependency.stage)
    for path, stages in other.items():
        more = f" and {len(stages) - 1} more" if len(stages) > 1 else ""
        yield f"{stages[0]}{more}: made from another {path} than {made[path].stage} made; dvc.lock joins two runs"


def unclaimed(lock: DvcLock, tracked: Iterable[str]) -> Iterator[str]:
    """Committed files under `reports/` that no stage makes."""
    made = lock.outputs()
    for path in map(Path, tracked):
        if not path.is_relative_to(REPORTS) or any(path.is_relative_to(folder) for folder in BUILT_ON):
            continue
        if not any(str(parent) in made for parent in (path, *path.parents)):
            yield f"{path}: committed, and no stage makes it"


def broken_seals(root: Path) -> Iterator[str]:
    """Files of folders with a `SHA256SUMS` that do not match it."""
    for folder in BUILT_ON:
        yield from (problem.replace(f"{root}/", "") for problem in checksums.problems(root / folder))
