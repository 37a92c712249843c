"""Repair what a killed rebuild can leave in DVC's own files; `make repro` runs it first.

A kill can leave two files empty or cut off that DVC writes in place, and then every later run fails:

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
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from goldilocks.core import cli, dvc_files, files, processes
from tools.scheduling import pipeline

ROOTS = (pipeline.PROJECT, pipeline.ABLATIONS)
TMP = Path(".dvc/tmp")
IDLE = re.compile(rb'\{(("read"|"write"): \{\}(, )?)*\}')  # what the register is while nobody reads or writes
LAST_REPAIR = TMP / "repaired"  # an empty file, whose time says when
PATIENCE = 10.0  # seconds; DVC holds its locks while it keeps records, not while a stage runs
OUTPUTS = (files.DATA, Path("reports"))

OUT = r"    - path: .+\n      hash: md5\n      md5: \w{32}(\n      size: |\.dir\n      size: \d+\n      nfiles: )\d+\n"
LAST_OUTS = re.compile(rf"\n    outs:\n({OUT})+\Z")
CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
CACHED_RUN = re.compile(r"[0-9a-f]+")
CACHED_FILE = re.compile(r"([0-9a-f]{32})(\.dir)?")


def report(path: Path, repaired: str) -> None:
    print(f"repaired {path}: {repaired}", file=sys.stderr)


def alive(register: dict[str, Any], written: float) -> Iterator[int]:
    """The processes in DVC's register that still run. One that started after its last change has another's number."""
    readers = [entry for entries in register.get("read", {}).values() for entry in entries]
    for number in {entry["pid"] for entry in (*readers, *register.get("write", {}).values())}:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            if processes.is_alive(process) and process.create_time() < written:
                yield number


def repair_register(root: Path) -> bool:
    """Remove the register of a DVC repository if it can't be read or names no living process.

    Returns:
        whether a process of DVC is at work.
    """
    register = root / TMP / "rwlock"
    if not register.is_file() or IDLE.fullmatch(register.read_bytes()):
        return False
    with processes.exclusive(register.with_suffix(".lock"), "DVC", PATIENCE):
        try:
            if any(alive(json.loads(register.read_bytes()), register.stat().st_mtime)):
                return True
            problem = "the processes in it are gone"
        except (ValueError, AttributeError, LookupError, TypeError):
            problem = "it was half-written"
        register.unlink()
    report(register, f"removed, {problem}")
    return False


def is_sound(contents: bytes) -> bool:
    """Whether a `dvc.lock` is complete: in DVC's own form to the last line, in another one as YAML."""
    try:
        text = contents.decode()
        if dvc_files.HEAD.match(text) and LAST_OUTS.search(text) and "\0" not in text:
            return True
        outs = [stage["outs"] for stage in YAML(typ="safe").load(text)["stages"].values()]
        last = "nfiles", "size"  # the lines that DVC writes last, of a folder and of a file
        return text.endswith("\n") and all(last[not out["md5"].endswith(".dir")] in out for of in outs for out in of)
    except (YAMLError, ValueError, KeyError, TypeError, AttributeError):
        return False


def committed(lock: Path) -> bytes | None:
    """The last commit's version of a lock file, if there is one and it is sound."""
    shown = subprocess.run(["git", "show", f"HEAD:./{lock.as_posix()}"], capture_output=True)  # noqa: S603, S607
    return shown.stdout if shown.returncode == 0 and is_sound(shown.stdout) else None


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
    if is_sound(lock.read_bytes()):
        return
    with processes.exclusive(lock.parent / TMP / "lock", "DVC", PATIENCE):
        if is_sound(contents := lock.read_bytes()):  # DVC was just writing it
            return
        damaged = lock.with_name(f"{lock.name}.damaged.tmp")
        damaged.write_bytes(contents)
        sound = committed(lock)
        if sound:
            files.write_bytes(lock, sound)
        else:
            lock.unlink()
    instead = "the committed one is in its place" if sound else "no committed one is sound, so DVC will write it anew"
    report(lock, f"it was half-written or damaged (kept as {damaged}); {instead}")


def unfinished(cache: Path) -> list[Path]:
    """Half-written entries of DVC's run cache, and folders without a whole one."""
    found = [path for path in cache.glob("runs/*/*/*") if not CACHED_RUN.fullmatch(path.name)]
    return found + [path for path in cache.glob("runs/*/*") if not set(path.iterdir()) - set(found)]


def damaged(cache: Path, since: float) -> list[Path]:
    """The files of DVC's cache that changed after a time and do not have the hash that is their name."""
    names = {path: path.parent.name + path.name for path in cache.glob("files/md5/??/*")}
    sizes = {path: path.stat().st_size for path in names if CACHED_FILE.fullmatch(names[path]) and is_new(path, since)}
    if not sizes:
        return []
    from goldilocks.core.progress import Progress

    found = []
    with Progress("reading what is new in DVC's cache", sum(sizes.values()), "byte") as progress:
        for path, size in sizes.items():
            if dvc_files.md5(path) != names[path].removesuffix(".dir"):
                found.append(path)
            progress.add(size)
    return found


def is_new(path: Path, since: float) -> bool:
    """Whether a file was written after a time, even if its time was set back since."""
    return path.stat().st_ctime > since


def repair_cache(cache: Path, at_work: bool = False) -> None:
    """Remove incomplete and damaged files from DVC's cache, and let DVC read changed outputs again.

    Args:
        at_work: whether a process of DVC is. Outputs keep their times then, since running stages compare them.
    """
    since = LAST_REPAIR.stat().st_mtime if LAST_REPAIR.is_file() else 0.0
    found = damaged(cache, since)
    if found or unfinished(cache):
        with processes.exclusive(TMP / "lock", "DVC", PATIENCE):
            found += unfinished(cache)
            for path in found:
                files.remove(path)
    if found:
        report(cache, f"removed unfinished or damaged entries ({len(found)})")
    if at_work:
        return
    for path in (path for folder in OUTPUTS for path in folder.rglob("*")):
        if path.is_file() and is_new(path, since):
            path.touch()
    with suppress(OSError):  # of a full disk: then all of it is read again next time
        LAST_REPAIR.touch()


def repair_records() -> bool:
    """Repair each `dvc.lock` and register of DVC, without loading DVC; returns whether a process of DVC is at work.

    Raises:
        UserError: if only the user can, or if another process holds DVC's lock.
    """
    at_work = [repair_register(root) for root in ROOTS]
    for root in ROOTS:
        repair_lock(root / dvc_files.LOCK)
    return any(at_work)


def main() -> None:
    cli.no_arguments(__doc__, "tools.repair")
    at_work = repair_records()
    repair_cache(pipeline.cache_folder(), at_work)


if __name__ == "__main__":
    cli.run(main)
