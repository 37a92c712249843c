"""Runs that are killed, and runs that meet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from chaos.faults.fault import Fault, Injection
from chaos.project import LOCK, Project, Running, results
from chaos.verdicts import Ending, differences

RECORDS = (LOCK, ".dvc/tmp/rwlock")
VERIFICATION = ("python", "-m", "stages.verify", "--stages", "sweep")
"""How the project verifies what is committed in a folder, in a clone of its own."""


def mark(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever a file is written."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns


def wait_for_changes(running: Running, record: Path, changes: int) -> None:
    """Return just when a file has changed so often, or the run has ended."""
    last = mark(record)
    while changes and running.at_work:
        time.sleep(0.0005)
        if (now := mark(record)) != last:
            changes, last = changes - 1, now


def wait(running: Running, seconds: float) -> None:
    """Return after so long, or when the run has ended."""
    until = time.monotonic() + seconds
    while running.at_work and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))


@contextmanager
def kill(project: Project, chance: Random) -> Iterator[Injection]:
    """Kill a rebuild with its whole process group: at any moment, or within 2 ms of DVC's writing of its records."""
    count = chance.randint(2, 4)
    work = project.forget(chance, count)
    record, changes = chance.choice(RECORDS), chance.randint(1, count)
    seconds = chance.uniform(0.01, 0.8 + 0.2 * count) * project.idle
    aimed = chance.random() < 0.5

    def run() -> list[Ending]:
        running = project.start("make", "repro")
        if aimed:
            wait_for_changes(running, project.folder / record, changes)
        else:
            wait(running, seconds)
        running.kill()
        return [running.ending()]

    moment = f"at change {changes} of {record}" if aimed else f"after {seconds:.2f} s"
    yield Injection(f"kill -9 {moment}, {work}", run)


@contextmanager
def twice(project: Project, chance: Random) -> Iterator[Injection]:
    """Start a rebuild beside a rebuild, at once or later."""
    work, after = project.forget(chance, 3), chance.choice([0.0, chance.uniform(0, project.idle)])

    def run() -> list[Ending]:
        first = project.start("make", "repro")
        wait(first, after)
        second = project.start("make", "repro")
        return [first.ending(), second.ending()]

    yield Injection(f"a second make repro {after:.2f} s after the first, {work}", run)


@contextmanager
def clone(project: Project, chance: Random) -> Iterator[Injection]:
    """Verify what is committed, or clone it and rebuild the clone, while the folder itself is rebuilt."""
    work, after = project.forget(chance, 3), chance.uniform(0, project.idle)
    target = Project(project.folder.with_name("clone"))

    def verify() -> list[Ending]:
        first = project.start("make", "repro")
        wait(first, after)
        return [project.start(*VERIFICATION).ending(), first.ending()]

    def rebuild() -> list[Ending]:
        first = project.start("make", "repro")
        wait(first, after)
        cloned = project.start("git", "clone", "--quiet", ".", str(target.folder)).ending()
        if cloned.code != 0:
            return [first.ending(), cloned]
        target.lend_environment()
        return [target.rebuild(), first.ending()]

    if (project.folder / "stages" / "verify.py").is_file():
        yield Injection(f"python -m stages.verify {after:.2f} s after make repro began, {work}", verify)
    else:
        yield Injection(
            f"a clone, made {after:.2f} s after make repro began and rebuilt beside it, {work}", rebuild,
            further=lambda: [f"{what} in the clone" for what in differences(results(target.folder), project.expected)],
        )  # fmt: skip


FAULTS = (
    Fault("kill", "kill -9 of make repro with its whole process group, at a random moment", kill),
    Fault("twice", "two make repro at once in one folder", twice),
    Fault("clone", "make repro while the same checkout is cloned and verified", clone, rebuilds=1.5),
)
