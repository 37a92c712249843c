"""Mend what a killed rebuild can leave behind and DVC does not heal by itself; `make repro` runs it first.

DVC writes two files in place, so that a kill can leave them empty or cut off, and every later run fails: `dvc.lock`,
and `.dvc/tmp/rwlock`, its register of who reads and writes what. The register keeps the entries of a killed process,
which block every later run once another program has that process's number. A run also fails on a folder of the run
cache that is still empty, and half-written entries hide whole ones. A damaged object of the cache is restored as if it
were a result, and a damaged output is not noticed if its size and time are as they were (see `mending.trust`).

A damaged index of git is for the user to make anew: DVC reads it too, and fails without saying at what.

What is sound is not touched, and nothing is printed then. What is not is mended under DVC's own locks, so that a DVC at
work is not disturbed, and what was done is told in one line. A damaged `dvc.lock` is kept as `dvc.lock.damaged.tmp`;
the committed one takes its place, and DVC's run cache gives back the results since (not those of ablations, which are
in git and not in the cache: runs since the last commit are made again).

example: python -m stages.repair
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.common import cli  # the rest is imported where something is to be mended: nothing mostly is
from stages.mending import trust

DVC_LOCK = Path("dvc.lock")
LOCKS = (DVC_LOCK, Path("ablations/dvc.lock"))
TMP = Path(".dvc/tmp")
RWLOCK = TMP / "rwlock"

HEAD = re.compile(r"schema: '2\.0'\nstages:\n  \S")
OUT = r"    - path: .+\n      hash: md5\n      md5: \w{32}(\n      size: |\.dir\n      size: \d+\n      nfiles: )\d+\n"
TAIL = re.compile(rf"\n    outs:\n({OUT})+\Z")
CONFLICT = re.compile(r"(<{7}|\|{7}|={7}|>{7})( |$)")
INDEX = Path(".git/index")
HASH = re.compile(r"[0-9a-f]+(\.dir)?")  # what DVC calls a finished file of its cache


def tell(path: Path, done: str) -> None:
    print(f"repaired {path}: {done}", file=sys.stderr)


@contextmanager
def held(name: str) -> Iterator[None]:
    """Hold one of DVC's locks, as DVC itself does and for as long as it would wait.

    Raises:
        UserError: if another process keeps it.
    """
    from dvc.config import Config
    from dvc.lock import LockError, make_lock

    TMP.mkdir(parents=True, exist_ok=True)
    hardlink = Config.from_cwd(validate=False)["core"].get("hardlink_lock", False)
    lock = make_lock(str(TMP / name), tmp_dir=str(TMP), hardlink_lock=hardlink)
    try:
        lock.lock()
    except LockError:
        raise cli.UserError(
            f"{TMP / name}: another DVC process holds it; wait for that to end, then try again"
        ) from None
    try:
        yield
    finally:
        lock.unlock()


def is_same_process(words: list[str], command: str) -> bool:
    """Whether a process with the command line `words` can be the one that called itself `command` in the register."""
    modules = [f"/{word.replace('.', '/')}" for word in words]
    return any(word and command.startswith(word) for word in words) or any(
        f"{module}.py" in command or f"{module}/__main__.py" in command for module in modules
    )


def lives(entry: dict[str, Any]) -> bool:
    """Whether the process that made an entry of the register is still there; in doubt it is."""
    import psutil

    try:
        process = psutil.Process(entry["pid"])
        words = process.cmdline()
        if is_same_process(words, entry["cmd"]):
            return True
        return any(Path(word).stem == "dvc" for word in words) and Path(process.cwd()).is_relative_to(Path.cwd())
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, ValueError):  # a zombie counts as gone
        return False


def living(register: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The register without the entries of processes that have gone, and how many those are."""
    write = {path: entry for path, entry in register["write"].items() if lives(entry)}
    read = {path: [entry for entry in entries if lives(entry)] for path, entries in register["read"].items()}
    kept = {"write": write, "read": {path: entries for path, entries in read.items() if entries}}
    gone = len(register["write"]) - len(write) + sum(map(len, register["read"].values())) - sum(map(len, read.values()))
    return {mode: entries for mode, entries in kept.items() if entries}, gone


def is_idle(contents: bytes) -> bool:
    """Whether a register is whole and nobody is in it."""
    try:
        register = json.loads(contents)
    except (ValueError, RecursionError):
        return False
    return isinstance(register, dict) and all(
        mode in ("read", "write") and entries == {} for mode, entries in register.items()
    )


def mend_register() -> bool:
    """Forget a register that can't be read, and entries in it of processes that have gone.

    Returns:
        whether entries of a DVC at work remain.
    """
    if not RWLOCK.is_file() or is_idle(RWLOCK.read_bytes()):
        return False
    from dvc.rwlock import RWLOCK_LOCK, SCHEMA
    from voluptuous import Invalid

    from stages.common import files

    with held(RWLOCK_LOCK):
        try:
            kept, gone = living(SCHEMA(json.loads(RWLOCK.read_bytes())))
        except (ValueError, RecursionError, Invalid):
            RWLOCK.unlink()
            tell(RWLOCK, "removed, it was half-written")
            return False
        if gone:
            with files.atomic_file(RWLOCK) as copy:
                copy.write_text(json.dumps(kept), "utf-8")
            tell(RWLOCK, f"removed entries of processes that are gone ({gone})")
        return bool(kept)


def is_complete(entry: dict[str, Any]) -> bool:
    """Whether an output's entry in `dvc.lock` has all that DVC writes of an output, to the last line."""
    return "size" in entry and ("nfiles" in entry or not str(entry.get("md5")).endswith(".dir"))


def is_sound(contents: bytes) -> bool:
    """Whether a `dvc.lock` is whole: the usual form at a glance, anything else as DVC reads it."""
    try:
        text = contents.decode()
    except UnicodeDecodeError:
        return False
    if HEAD.match(text) and TAIL.search(text) and "\0" not in text:
        return True
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import parse_yaml
    from voluptuous import Invalid

    try:
        stages = COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, str(DVC_LOCK)))["stages"]
    except (DvcException, Invalid, ValueError, KeyError, TypeError, RecursionError):
        return False
    outs = [stage.get("outs") for stage in stages.values()]
    return text.endswith("\n") and all(outs) and all(is_complete(entry) for entries in outs for entry in entries)


def damaged(lock: Path) -> Path:
    """Where a damaged lock file is kept."""
    return lock.with_name(f"{lock.name}.damaged.tmp")


def committed(lock: Path) -> bytes | None:
    """The last commit's version of a lock file if there is a sound one."""
    command = ["git", "show", f"HEAD:./{lock.as_posix()}"]
    try:
        shown = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown if is_sound(shown) else None


def refuse_conflicts(lock: Path, contents: bytes) -> None:
    """Raise UserError if git left both sides of a merge in the file: which one counts is the user's choice."""
    lines = contents.decode(errors="replace").split("\n")
    marked = [str(number) for number, line in enumerate(lines, 1) if CONFLICT.match(line)]
    if marked:
        raise cli.UserError(
            f"{lock}: a merge left both sides in it (lines {', '.join(marked)}): choose with "
            f"`git checkout --ours {lock}` or `--theirs`, then run make repro"
        )


def mend_dvc_lock(lock: Path = DVC_LOCK) -> None:
    """Put a damaged lock file aside and the committed one in its place.

    Raises:
        UserError: if it holds the marks of a merge conflict.
    """
    if not lock.is_file():
        return
    refuse_conflicts(lock, lock.read_bytes())
    if is_sound(lock.read_bytes()):
        return
    from stages.common import files

    with held("lock"):
        if is_sound(contents := lock.read_bytes()):  # a DVC at work was just writing it
            return
        damaged(lock).write_bytes(contents)
        whole = committed(lock)
        if whole is None:
            lock.unlink()
        else:
            with files.atomic_file(lock) as copy:
                copy.write_bytes(whole)
    instead = "the committed one is in its place" if whole else "no committed one is sound, so DVC will write it anew"
    tell(lock, f"it was half-written or damaged (kept as {damaged(lock)}); {instead}")


def misleading(cache: Path, look: trust.Look) -> list[Path]:
    """What DVC would take for a result it is not: entries of the run cache that were still being written and folders
    that wait for one, and damaged objects."""
    found = [path for path in cache.glob("runs/*/*/*") if not HASH.fullmatch(path.name)]
    found += [path for path in cache.glob("runs/*/*") if not set(path.iterdir()) - set(found)]
    return found + look.damaged()


def mend_cache(at_work: bool = False) -> None:
    """Remove what is misleading; it belongs to results that DVC then makes again.

    Args:
        at_work: whether a DVC is: then outputs keep their times, which a stage that reads them looks at, too.
    """
    cache = trust.cache()
    look = trust.Look(cache)
    if misleading(cache, look):
        from stages.common import files

        with held("lock"):
            look = trust.Look(cache)
            found = misleading(cache, look)
            for path in found:
                files.remove(path)
        if found:
            tell(cache, f"removed unfinished or damaged entries ({len(found)})")
    if not at_work:
        look.note()


def refuse_damaged_index() -> None:
    """Raise UserError if git's index does not end with the hash of the rest, as it does unless that is switched off."""
    if not INDEX.is_file():
        return
    contents = INDEX.read_bytes()
    for algorithm, length in (hashlib.sha1, 20), (hashlib.sha256, 32):
        noted = contents[-length:]
        if noted in (bytes(length), algorithm(contents[:-length], usedforsecurity=False).digest()):
            return
    raise cli.UserError(
        f"{INDEX}: half-written or damaged: `rm {INDEX} && git reset` makes it anew (nothing stays staged)"
    )


def mend() -> None:
    """Mend whatever is to be mended.

    Raises:
        UserError: if only the user can.
    """
    refuse_damaged_index()
    at_work = mend_register()
    for lock in LOCKS:
        mend_dvc_lock(lock)
    mend_cache(at_work)


def main() -> None:
    cli.no_arguments(__doc__, "stages.repair")
    mend()


if __name__ == "__main__":
    cli.run(main)
