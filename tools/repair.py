"""Repair what a killed rebuild can leave in DVC's own files; `make repro` runs it first.

A kill can leave two files cut off that DVC writes in place, and then every later run fails:

* `dvc.lock`. The damaged file is kept as `dvc.lock.damaged.tmp`, and the committed one takes its place. DVC's run cache
  gives back later results, except those of ablations, which are in git and not in the cache.
* `.dvc/tmp/rwlock`, DVC's register of who reads and writes what. Entries of a killed process also block every later run
  once another process has its number. A register that names no living process is removed.

In DVC's run cache a kill leaves empty folders and half-written entries, which make a run fail or hide sound entries.
They are removed. Files in DVC's cache and outputs that changed after the last repair are read again: DVC restores
whatever its cache holds under the right name, and trusts the size and time of an output.

Nothing is printed if nothing is damaged. Each repair holds DVC's lock and prints one line.

example: goldilocks repair
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from goldilocks.core import cli, dvc_files, files, processes
from goldilocks.core.progress import Progress
from tools.scheduling import pipeline

ROOTS = (pipeline.PROJECT, pipeline.ABLATIONS)
TMP = Path(".dvc/tmp")
LAST_REPAIR = TMP / "repaired"  # an empty file, whose time says when
PATIENCE = 10.0  # seconds; DVC holds its locks while it keeps records, not while a stage runs
OUTPUTS = (files.DATA, Path("reports"))

OUT = r" +- path: .+\n +hash: md5\n +md5: \w{32}(\n +size: |\.dir\n +size: \d+\n +nfiles: )\d+\n( +isexec: true\n)?"
LAST_OUTS = re.compile(rf"\n +outs:\n({OUT})+\Z")
CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
PROCESS = re.compile(r'"pid": (\d+)')
CACHED_RUN = re.compile(r"[0-9a-f]+")
CACHED_FILE = re.compile(r"([0-9a-f]{32})(\.dir)?")


def report(path: Path, repaired: str) -> None:
    print(f"repaired {path}: {repaired}", file=sys.stderr)


def runs(number: int, since: float) -> bool:
    """Whether the process that had a number at a time still runs; a later one with that number is another."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        return processes.is_alive(process) and process.create_time() < since
    return False


def is_at_work(register: Path) -> bool:
    """Whether a process in DVC's register still runs."""
    numbers = set(map(int, PROCESS.findall(_text(register))))
    return any(runs(number, register.stat().st_mtime) for number in numbers)


def _text(register: Path) -> str:
    return register.read_text("utf-8", "replace") if register.is_file() else "{}"


def problem_of_register(register: Path) -> str:
    """What is wrong with DVC's register, or nothing."""
    text = _text(register)
    try:
        json.loads(text)
    except ValueError:
        return "it was half-written"
    return "the processes in it are gone" if PROCESS.search(text) and not is_at_work(register) else ""


def repair_register(root: Path) -> None:
    """Remove the register of a DVC repository if it can't be read or names no living process."""
    register = root / TMP / "rwlock"
    if not problem_of_register(register):
        return
    with processes.exclusive(register.with_suffix(".lock"), "DVC", PATIENCE):
        problem = problem_of_register(register)
        if problem:  # DVC was not just writing it
            register.unlink()
            report(register, f"removed, {problem}")


def is_whole(contents: bytes) -> bool:
    """Whether a `dvc.lock` ends as DVC ends one, and has no zeros, which file systems leave where nothing arrived."""
    return LAST_OUTS.search(contents.decode(errors="replace")) is not None and b"\0" not in contents


def repair_lock(lock: Path) -> None:
    """Replace a damaged `dvc.lock` by the committed one.

    Raises:
        UserError: if a merge left both sides in it, since the user has to choose one.
    """
    if not lock.is_file():
        return
    if CONFLICT.search(lock.read_text("utf-8", "replace")):
        raise cli.UserError(
            f"{lock}: a merge left both sides in it: choose with `git checkout --ours {lock}` or `--theirs`, "
            "then run make repro"
        )
    if is_whole(lock.read_bytes()):
        return
    with processes.exclusive(lock.parent / TMP / "lock", "DVC", PATIENCE):
        contents = lock.read_bytes()
        if is_whole(contents):  # DVC was just writing it
            return
        damaged = lock.with_name(f"{lock.name}.damaged.tmp")
        damaged.write_bytes(contents)
        shown = subprocess.run(["git", "show", f"HEAD:./{lock.as_posix()}"], capture_output=True)  # noqa: S603, S607
        if is_whole(shown.stdout):
            files.write_bytes(lock, shown.stdout)
            instead = "the committed one is in its place"
        else:
            lock.unlink()
            instead = "no committed one is sound, so DVC will write it anew"
    report(lock, f"it was half-written or damaged (kept as {damaged}); {instead}")


def unfinished(cache: Path) -> list[Path]:
    """Half-written entries of DVC's run cache, and folders without a whole one."""
    found = [path for path in cache.glob("runs/*/*/*") if not CACHED_RUN.fullmatch(path.name)]
    return found + [path for path in cache.glob("runs/*/*") if not set(path.iterdir()) - set(found)]


def damaged(cache: Path, since: float) -> list[Path]:
    """The files of DVC's cache that changed after a time and do not have the hash that is their name."""
    entries = ((path, CACHED_FILE.fullmatch(path.parent.name + path.name)) for path in cache.glob("files/md5/??/*"))
    new = [(path, name[1], path.stat().st_size) for path, name in entries if name and is_new(path, since)]
    found = []
    with Progress("reading what is new in DVC's cache", sum(size for *_, size in new), "byte") as progress:
        for path, name, size in new:
            if dvc_files.md5(path) != name:
                found.append(path)
            progress.add(size)
    return found


def is_new(path: Path, since: float) -> bool:
    """Whether a file was written after a time, even if its time was set back since."""
    return path.stat().st_ctime > since


def repair_cache(cache: Path) -> None:
    """Remove incomplete and damaged files from DVC's cache, and let DVC read changed outputs again."""
    since = LAST_REPAIR.stat().st_mtime if LAST_REPAIR.is_file() else 0.0
    found = damaged(cache, since)
    if found or unfinished(cache):
        with processes.exclusive(TMP / "lock", "DVC", PATIENCE):
            found += unfinished(cache)
            for path in found:
                files.remove(path)
    if found:
        report(cache, f"removed unfinished or damaged entries ({len(found)})")
    if any(is_at_work(root / TMP / "rwlock") for root in ROOTS):
        return  # running stages compare their outputs' times
    for path in (path for folder in OUTPUTS for path in folder.rglob("*")):
        if path.is_file() and is_new(path, since):
            path.touch()
    with suppress(OSError):  # of a full disk; then all of it is read again next time
        LAST_REPAIR.touch()


def repair_records() -> None:
    """Repair each `dvc.lock` and register of DVC, without loading DVC.

    Raises:
        UserError: if only the user can, or if another process holds DVC's lock.
    """
    for root in ROOTS:
        repair_register(root)
        repair_lock(root / dvc_files.LOCK)


def main() -> None:
    cli.no_arguments(__doc__, "tools.repair")
    repair_records()
    repair_cache(pipeline.cache_folder())


if __name__ == "__main__":
    cli.run(main)
