"""Git, interrupted in the middle of something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from chaos.faults.contents import damage
from chaos.faults.fault import Fault, Injection
from chaos.project import IDENTITY, LOCK, Project

LOCKS = ("index.lock", "HEAD.lock", "config.lock", "refs/heads/main.lock")
TORN = ("README.md", LOCK, "params.yaml", "reports/index.html", "reports/metrics/sweep.json", "reports/plots/sweep.csv")
OTHER = "# from the other side\n"


@contextmanager
def git_lock(project: Project, chance: Random) -> Iterator[Injection]:
    """Leave behind a lock, as a git that was killed does."""
    name, work = chance.choice(LOCKS), project.forget(chance, 1)
    lock = project.folder / ".git" / name
    lock.touch()
    yield Injection(f".git/{name} left behind, {work}")
    lock.unlink()


@contextmanager
def git_index(project: Project, chance: Random) -> Iterator[Injection]:
    """Damage git's index, as a git that was killed or a full disk may."""
    work = project.forget(chance, 1)
    index = project.folder / ".git" / "index"
    done = damage(index, chance)
    yield Injection(f".git/index {done}, {work}")
    index.unlink()
    project.git("reset", "--quiet")


@contextmanager
def merge(project: Project, chance: Random) -> Iterator[Injection]:
    """Stop in a merge, with both sides in one file."""
    name = chance.choice(TORN)
    torn = project.folder / name
    project.git("checkout", "--quiet", "--orphan", "other")
    torn.write_text(OTHER + torn.read_text("utf-8"), "utf-8")
    project.git("commit", "--quiet", "--all", "--message", "another history")
    project.git("checkout", "--quiet", "main")
    command = ["git", *IDENTITY, "merge", "--allow-unrelated-histories", "other"]
    assert project.start(*command).ending().code == 1, "a conflict"
    yield Injection(f"a merge in progress, both sides in {name}")
    project.git("merge", "--abort")


@contextmanager
def rebase(project: Project, chance: Random) -> Iterator[Injection]:
    """Stop in a rebase that changes nothing."""
    project.git("commit", "--quiet", "--allow-empty", "--message", "nothing")
    command = ["git", *IDENTITY, "rebase", "--quiet", "--keep-empty", "--exec", "false", "HEAD~1"]
    assert project.start(*command).ending().code == 1, "stopped"
    work = project.forget(chance, 1)
    yield Injection(f"a rebase in progress, {work}")
    project.git("rebase", "--quit")
    project.git("checkout", "--quiet", "main")


@contextmanager
def detached_head(project: Project, chance: Random) -> Iterator[Injection]:
    """Be on no branch."""
    project.git("checkout", "--quiet", "--detach")
    work = project.forget(chance, 1)
    yield Injection(f"a detached HEAD, {work}")
    project.git("checkout", "--quiet", "main")


FAULTS = (
    Fault("git-lock", "a lock that a killed git left behind", git_lock),
    Fault("git-index", "a half-written or damaged index of git", git_index),
    Fault("merge", "a merge in progress, both sides in one file", merge),
    Fault("rebase", "a rebase in progress", rebase),
    Fault("detached-head", "a HEAD on no branch", detached_head),
)
