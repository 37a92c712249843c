"""A clone of the committed state: is it consistent, by hashes alone, and what do its stages make without any cache?

DVC compares code, parameters, versions and reports with `dvc.lock`. Data that is not in git is followed through the
hashes: each dependency must be the output recorded for the stage that makes it, in the ablations' `dvc.lock` too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from goldilocks.core import checksums, cli, files
from goldilocks.core.dvc_files import LOCK, DvcLock
from stages.check import BUILT_ON
from tools.scheduling.pipeline import ABLATIONS, PROJECT

LAST_LINES = 12  # of what a command that failed printed
REPORTS = Path("reports")
NOT_IN_GIT = {"deleted", "not in cache"}
OWN_CACHE = "[cache]\n    dir = cache\n"  # beside this file, whatever the committed configuration names


def environment(folder: Path) -> dict[str, str]:
    """The environment with this interpreter first on PATH, and no configuration or cache of DVC from outside."""
    own = folder / "dvc settings"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    shut = dict.fromkeys(("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"), str(own))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
    return kept | {"PATH": path, "PYTHONPATH": ""} | quiet | shut


def output_of(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Raises:
        UserError: if it fails, with its last lines.
    """
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        raise cli.UserError(f"could not verify: {' '.join(command)} failed; it printed:", *lines[-LAST_LINES:])
    return done.stdout


class Clone:
    """A clone of a repository to run commands in.

    Args:
        source: the repository.
        folder: where the clone is put; settings of DVC are kept beside it.
        commit: what is checked out.

    Raises:
        UserError: if git can't clone it.
    """

    def __init__(self, source: Path, folder: Path, commit: str) -> None:
        self.folder, self.env = folder, environment(folder.parent)
        output_of(["git", "clone", "--quiet", "--no-checkout", str(source), str(folder)], folder.parent)
        self.run("git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit)
        files.write_text(folder / ".dvc/config.local", OWN_CACHE)

    def run(self, *command: str) -> str:
        """What a command prints there; see `output_of`."""
        return output_of(command, self.folder, self.env)

    def rebuild(self, targets: Sequence[str] = ()) -> None:
        """Make stages and what they need, all if none is named, as if none had ever been made.

        What they print goes to stderr.

        Raises:
            UserError: if one fails.
        """
        files.remove(self.folder / LOCK)
        command = ["python", "-m", "tools.run", *targets]
        if subprocess.run(command, cwd=self.folder, env=self.env, stdout=sys.stderr).returncode:
            raise cli.UserError("could not verify: the rebuild failed; the lines above say why")


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
        *(line.replace(f"{clone.folder}/", "") for at in BUILT_ON for line in checksums.problems(clone.folder / at)),
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
