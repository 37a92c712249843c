"""Files that are missing or hold other bytes than were written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from chaos.faults.fault import Fault, Injection
from chaos.project import CACHE, Out, Project
from stages.common.files import remove

INPUTS = ("reports/ablations", "reports/paper/metrics", "reports/paper/tables/layernorm.parquet")
"""Committed results of other runs, of which this one makes its claims and its report, too."""


def damage(path: Path, chance: Random, same_time: bool = False) -> str:
    """Flip a bit of a file, cut it off or empty it; returns what was done.

    Args:
        same_time: leave its size and its time of change as they were.
    """
    before, contents = path.stat(), bytearray(path.read_bytes())
    kind = "flip" if same_time else chance.choice(["flip", "flip", "cut", "empty"])
    if kind == "flip" and contents:
        place = chance.randrange(len(contents))
        contents[place] ^= 1 << chance.randrange(8)
        done = f"bit flipped in byte {place}" + (", its time of change kept" if same_time else "")
    elif kind == "cut" and contents:
        del contents[chance.randrange(len(contents)) :]
        done = f"cut off after {len(contents)} bytes"
    else:
        contents.clear()
        done = "emptied"
    path.chmod(0o644)
    path.write_bytes(contents)
    path.chmod(before.st_mode & 0o7777)  # DVC takes what is read-only for whole
    if same_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return done


def files_in(folder: Path, name: str) -> list[Path]:
    """Every file of an output or a folder."""
    return sorted(path for path in (folder / name, *(folder / name).rglob("*")) if path.is_file())


def objects(project: Project, out: Out) -> list[Path]:
    """What DVC's cache keeps of an output: a file, or the list of a folder's files and these."""
    first = project.folder / out.object
    if not out.md5.endswith(".dir"):
        return [first]
    hashes = sorted({entry["md5"] for entry in json.loads(first.read_bytes())})
    return [first, *(project.folder / CACHE / md5[:2] / md5[2:] for md5 in hashes)]


def needed(project: Project, chance: Random) -> tuple[Path, str]:
    """An object of the cache, seen whole, and what was done to make DVC need it: nothing, or more and more."""
    project.settle()
    out = chance.choice([out for out in project.outs() if out.path.startswith("data/")])
    chosen = objects(project, out)
    path = chance.choice([chosen[0], chance.choice(chosen)])
    kind = chance.randrange(3)
    if kind:
        remove(project.folder / out.path)
    if kind == 2:
        project.drop_entries([out.stage])
    return path, ("", f", {out.path} is gone", f", {out.path} and its stage's entry in dvc.lock are gone")[kind]


@contextmanager
def cache_missing(project: Project, chance: Random) -> Iterator[Injection]:
    """Remove an object of DVC's cache."""
    path, beside = needed(project, chance)
    path.unlink()
    yield Injection(f"{project.name(path)} removed{beside}")


@contextmanager
def cache_damaged(project: Project, chance: Random) -> Iterator[Injection]:
    """Damage an object of DVC's cache; like DVC's own ones it can't be told from a whole one by its mode."""
    path, beside = needed(project, chance)
    done = damage(path, chance, same_time=chance.random() < 0.3)
    yield Injection(f"{project.name(path)} {done}{beside}")


def damaged_output(project: Project, chance: Random, within: str) -> Injection:
    """Damage a file that the pipeline made and that was seen whole; stages that may read it have to be made."""
    work = project.forget(chance, chance.randint(1, 3))
    project.settle()
    out = chance.choice([out for out in project.outs() if out.path.startswith(within)])
    path = chance.choice(files_in(project.folder, out.path))
    done = damage(path, chance, same_time=chance.random() < 0.3)
    return Injection(f"{project.name(path)} {done}, {work}")


@contextmanager
def data_damaged(project: Project, chance: Random) -> Iterator[Injection]:
    """Damage a file under data/."""
    yield damaged_output(project, chance, "data/")


@contextmanager
def report_damaged(project: Project, chance: Random) -> Iterator[Injection]:
    """Damage a committed file under reports/ that the run makes."""
    yield damaged_output(project, chance, "reports/")


@contextmanager
def input_damaged(project: Project, chance: Random) -> Iterator[Injection]:
    """Damage a committed file under reports/ that the run only reads."""
    path = chance.choice(files_in(project.folder, chance.choice(INPUTS)))
    done = damage(path, chance)
    name = project.name(path)
    yield Injection(f"{name} {done}", apart=frozenset([name]))
    project.git("checkout", "--quiet", "--", name)


FAULTS = (
    Fault("cache-missing", "an object of DVC's cache that is gone", cache_missing),
    Fault("cache-damaged", "an object of DVC's cache with a flipped bit, cut off or emptied", cache_damaged),
    Fault("data-damaged", "a file under data/ with a flipped bit, cut off or emptied", data_damaged),
    Fault("report-damaged", "a committed file under reports/, made by the run and damaged", report_damaged),
    Fault("input-damaged", "a committed file of another run under reports/, which this one reads", input_damaged),
)
