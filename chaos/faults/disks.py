"""Disks that fill up, and folders that can't be written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from chaos import mounts
from chaos.faults.fault import Fault, Injection
from chaos.project import ROOT, Project

PLACES = (".", "data", ".dvc", "reports")
SHUT = (".", "data", "data/model5", "reports", "reports/metrics", ".dvc", ".dvc/cache", ".dvc/tmp", ".git")
MOST_LEFT = 2**20
TEMPORARY = Path("/tmp")  # noqa: S108 - not to write there, but to see what happens when nobody can


@contextmanager
def disk_full(project: Project, chance: Random) -> Iterator[Injection]:
    """Let the disk under the copy or a part of it fill up during a rebuild."""
    place = project.folder / chance.choice(PLACES)
    work = project.forget(chance, 4)
    left = chance.choice([0, int(MOST_LEFT * chance.random() ** 3)])
    project.lasting.enter_context(mounts.own_disk(place))
    with mounts.nearly_full(place, left):
        where = "the copy" if place == project.folder else place.name
        yield Injection(f"{left / 1e3:.0f} kB left on the disk of {where}, {work}")


@contextmanager
def temporary_full(project: Project, chance: Random) -> Iterator[Injection]:
    """Leave no space in the system's folder for temporary files, in TMPDIR, or where DVC keeps notes on files."""
    work = project.forget(chance, 2)
    full = project.folder.with_name("full")
    full.mkdir()
    needed = (ROOT, Path(sys.prefix), Path(sys.base_prefix), project.folder)
    choices = ["TMPDIR", "DVC_SITE_CACHE_DIR"]
    choices += [] if any(path.is_relative_to(TEMPORARY) for path in needed) else [str(TEMPORARY)]
    name = chance.choice(choices)
    with ExitStack() as stack:
        stack.callback(full.rmdir)
        stack.enter_context(mounts.full_disk(TEMPORARY if name == str(TEMPORARY) else full))
        changes = {} if name == str(TEMPORARY) else {name: str(full)}
        where = name if name == str(TEMPORARY) else f"the disk that {name} names"
        yield Injection(f"nothing left on {where}, {work}", lambda: [project.rebuild(changes=changes)])


@contextmanager
def read_only(project: Project, chance: Random) -> Iterator[Injection]:
    """Let nothing be written in one of the project's folders."""
    place = chance.choice(SHUT)
    work = project.forget(chance, 3)
    (project.folder / place).mkdir(parents=True, exist_ok=True)
    with mounts.read_only(project.folder / place):
        where = "the copy" if place == "." else place
        yield Injection(f"{where} is read-only, {work}")


FAULTS = (
    Fault("disk-full", "a disk that fills up under the copy, its data, reports or cache", disk_full, mounts=True),
    Fault("tmp-full", "no space left for temporary files", temporary_full, mounts=True),
    Fault("read-only", "a folder of the project that can't be written, not even by root", read_only, mounts=True),
)
