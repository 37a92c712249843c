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
from collections.abc import Callable
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

OUT = rb" +- path: .+\n +hash: md5\n +md5: \w{32}(\n +size: |\.dir\n +size: \d+\n +nfiles: )\d+\n( +isexec: true\n)?"
LAST_OUTS = re.compile(rb"[^\0]*\n +outs:\n(%b)+" % OUT)
CONFLICT = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
CACHED_FILE = re.compile(r"[0-9a-f]{32}(\.dir)?")
PROCESS = re.compile(r'"pid": (\d+)')


def repaired(path: Path, lock: Path, problem: Callable[[], str], mend: Callable[[], str | None]) -> None:
    """Mend a file under DVC's lock, if it still has a problem then, and say so."""
    if problem():
        with processes.exclusive(lock, "DVC", PATIENCE):
            if found := problem():  # DVC was not just writing it
                print(f"repaired {path}: {found}{mend() or ''}", file=sys.stderr)


def is_at_work(register: Path) -> bool:
    """Whether a process in DVC's register still runs; a later one with the number of one that is gone is another."""
    for number in map(int, PROCESS.findall(_text(register))):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            if processes.is_alive(process) and process.create_time() < register.stat().st_mtime:
                return True
    return False


def _text(register: Path) -> str:
    return register.read_text("utf-8", "replace") if register.is_file() else "{}"


def repair_register(root: Path) -> None:
    """Remove the register of a DVC repository if it can't be read or names no living process."""
    register = root / TMP / "rwlock"

    def problem() -> str:
        text = _text(register)
        try:
            json.loads(text)
        except ValueError:
            return "removed, it was half-written"
        return "removed, the processes in it are gone" if PROCESS.search(text) and not is_at_work(register) else ""

    repaired(register, register.with_suffix(".lock"), problem, register.unlink)


def repair_lock(lock: Path) -> None:
    """Replace a damaged `dvc.lock` by the committed one.

    A whole one ends as DVC ends one, and has no zeros, which file systems leave where nothing arrived.

    Raises:
        UserError: if a merge left both sides in it, since the user has to choose one.
    """
    damaged = lock.with_name(f"{lock.name}.damaged.tmp")
    if lock.is_file() and CONFLICT.search(lock.read_bytes()):
        raise cli.UserError(
            f"{lock}: a merge left both sides in it: choose with `git checkout --ours {lock}` or `--theirs`, "
            "then run make repro"
        )

    def problem() -> str:
        whole = not lock.is_file() or LAST_OUTS.fullmatch(lock.read_bytes())
        return "" if whole else f"it was half-written or damaged (kept as {damaged}); "

    def mend() -> str:
        damaged.write_bytes(lock.read_bytes())
        shown = subprocess.run(["git", "show", f"HEAD:./{lock.as_posix()}"], capture_output=True)  # noqa: S603, S607
        if not LAST_OUTS.fullmatch(shown.stdout):
            lock.unlink()
            return "no committed one is sound, so DVC will write it anew"
        files.write_bytes(lock, shown.stdout)
        return "the committed one is in its place"

    repaired(lock, lock.parent / TMP / "lock", problem, mend)


def unfinished(cache: Path) -> list[Path]:
    """Half-written entries of DVC's run cache, and folders without a whole one."""
    found = [path for path in cache.glob("runs/*/*/*") if not re.fullmatch(r"[0-9a-f]+", path.name)]
    return found + [path for path in cache.glob("runs/*/*") if not set(path.iterdir()) - set(found)]


def damaged(cache: Path, since: float) -> list[Path]:
    """The files of DVC's cache that changed after a time and do not have the hash that is their name."""
    changed = (path for path in cache.glob("files/md5/??/*") if is_new(path, since))
    new = [path for path in changed if CACHED_FILE.fullmatch(path.parent.name + path.name)]
    found = []
    with Progress("reading what is new in DVC's cache", sum(path.stat().st_size for path in new), "byte") as progress:
        for path in new:
            if dvc_files.md5(path) != path.parent.name + path.stem:
                found.append(path)
            progress.add(path.stat().st_size)
    return found


def is_new(path: Path, since: float) -> bool:
    """Whether a file was written after a time, even if its time was set back since."""
    return path.stat().st_ctime > since


def repair_cache(cache: Path) -> None:
    """Remove incomplete and damaged files from DVC's cache, and let DVC read changed outputs again."""
    since = LAST_REPAIR.stat().st_mtime if LAST_REPAIR.is_file() else 0.0
    bad = damaged(cache, since)

    def problem() -> str:
        found = len(bad + unfinished(cache))
        return f"removed unfinished or damaged entries ({found})" if found else ""

    def mend() -> None:
        for path in bad + unfinished(cache):
            files.remove(path)

    repaired(cache, TMP / "lock", problem, mend)
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
