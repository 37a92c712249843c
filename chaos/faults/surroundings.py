"""A clock, a home and a folder for temporary files that are not what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random

from chaos import mounts
from chaos.faults.fault import Fault, Injection
from chaos.project import Project

PYTHON_CLOCK = """
import time
for name, unit in (("time", 1), ("time_ns", 10**9)):
    setattr(time, name, lambda real=getattr(time, name), back={seconds} * unit: real() - back)
"""


@contextmanager
def clock(project: Project, chance: Random) -> Iterator[Injection]:
    """Set the clock back, so that all files are from the future: of every program, or without faketime of Python."""
    work, days = project.forget(chance, 3), chance.choice([0.01, 1, 400])
    seconds = int(days * 86400)
    if shutil.which("faketime"):
        back = f"the clock {days:g} days back (faketime), {work}"
        yield Injection(back, lambda: [project.rebuild("faketime", "-f", f"-{seconds}s")])
    else:
        shifted = project.folder.with_name("clock")
        shifted.mkdir()
        (shifted / "sitecustomize.py").write_text(PYTHON_CLOCK.format(seconds=seconds), "utf-8")
        back = f"Python's clock {days:g} days back (faketime is not installed), {work}"
        yield Injection(back, lambda: [project.rebuild(changes={"PYTHONPATH": str(shifted)})])


@contextmanager
def home(project: Project, chance: Random) -> Iterator[Injection]:
    """Have no home: HOME is not set, does not exist, is a file, or can't be written."""
    work, folder = project.forget(chance, 3), project.folder.with_name("home")
    kinds = ["not set", "a folder that does not exist", "a file", *([] if mounts.missing() else ["read-only"])]
    kind = chance.choice(kinds)
    with ExitStack() as stack:
        if kind == "a file":
            folder.touch()
        elif kind == "read-only":
            folder.mkdir()
            stack.enter_context(mounts.read_only(folder))
        changes = {"HOME": None if kind == "not set" else str(folder), "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}
        yield Injection(f"HOME is {kind}, {work}", lambda: [project.rebuild(changes=changes)])


@contextmanager
def tmpdir(project: Project, chance: Random) -> Iterator[Injection]:
    """Have TMPDIR name what does not exist, or a file."""
    work, folder = project.forget(chance, 3), project.folder.with_name("temporary")
    kind = chance.choice(["a folder that does not exist", "a file"])
    if kind == "a file":
        folder.touch()
    yield Injection(f"TMPDIR is {kind}, {work}", lambda: [project.rebuild(changes={"TMPDIR": str(folder)})])


FAULTS = (
    Fault("clock", "a clock that was set back, and files from the future", clock),
    Fault("home", "no HOME, or none that can be used", home),
    Fault("tmpdir", "a TMPDIR that does not exist", tmpdir),
)
