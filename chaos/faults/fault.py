"""What a fault is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import NamedTuple

from chaos.project import Project
from chaos.verdicts import Ending


class Injection(NamedTuple):
    """A fault that is there now.

    Args:
        said: what exactly was done, for people.
        run: what the fault disturbs; None for one `make repro`.
        apart: files that are the fault itself, so that they are not compared while it is there.
        further: what else than the project's own result came out differently.
    """

    said: str
    run: Callable[[], Sequence[Ending]] | None = None
    apart: frozenset[str] = frozenset()
    further: Callable[[], list[str]] = list


class Fault(NamedTuple):
    """A kind of fault.

    Args:
        name: as on the command line.
        what: one line about it.
        inject: puts one into a project, chosen by chance, and takes it away again when it is left.
        mounts: whether that needs a disk or a folder to be mounted.
        rebuilds: about how many rebuilds from nothing one injection takes, beyond two with little to do.
    """

    name: str
    what: str
    inject: Callable[[Project, Random], AbstractContextManager[Injection]]
    mounts: bool = False
    rebuilds: float = 0.0
