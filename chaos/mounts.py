"""Small disks and read-only folders, in a namespace of mounts that ends with this process and that nobody else sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stages.common.cli import UserError

INSIDE = "GOLDILOCKS_CHAOS_MOUNTS"
ROOMY = 512 * 2**20  # bytes
BLOCK = 4096


def enter() -> None:
    """Start this program anew where it may mount, if that can be had; returns if it can't or has been done."""
    unshare = shutil.which("unshare")
    if INSIDE in os.environ or not unshare:
        return
    for options in ([], ["--user", "--map-root-user"]):
        command = [unshare, *options, "--mount"]
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:  # noqa: S603
            sys.stdout.flush()
            again = [*command, sys.executable, "-m", "chaos", *sys.argv[1:]]
            os.execve(unshare, again, os.environ | {INSIDE: "1"})  # noqa: S606


def missing() -> str:
    """Why nothing can be mounted here; empty if it can."""
    return "" if INSIDE in os.environ else "needs `unshare --mount`, which is not allowed or not installed here"


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)  # noqa: S603, S607
    if done.returncode:
        raise UserError(f"could not run: mount {' '.join(arguments)}: {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


def free(folder: Path) -> int:
    """Bytes that can still be written there."""
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize


@contextmanager
def own_disk(folder: Path) -> Iterator[None]:
    """Put a disk of its own, with room, under a folder and its contents; what is written there is lost with it."""
    beside = folder.with_name(f"{folder.name} on its own disk")
    beside.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={ROOMY},mode=755", "tmpfs", str(beside))
    try:
        shutil.copytree(folder, beside, symlinks=True, dirs_exist_ok=True)
        _mount("--move", str(beside), str(folder))
    except BaseException:
        _unmount(beside)
        raise
    finally:
        beside.rmdir()
    try:
        yield
    finally:
        _unmount(folder)


@contextmanager
def nearly_full(folder: Path, left: int) -> Iterator[None]:
    """Leave so many bytes on the disk of a folder that has its own; afterwards there is room again."""
    there = os.statvfs(folder)
    used = (there.f_blocks - there.f_bfree) * there.f_frsize
    _mount("-o", f"remount,size={used + left // BLOCK * BLOCK}", str(folder))
    try:
        yield
    finally:
        _mount("-o", f"remount,size={ROOMY}", str(folder))


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Hide a folder behind an empty disk on which nothing can be written."""
    _mount("-t", "tmpfs", "-o", f"size={16 * BLOCK},mode=1777", "tmpfs", str(folder))
    try:
        filler = folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as handle:
            while True:
                handle.write(bytes(BLOCK))
        yield
    finally:
        _unmount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written in a folder, not even by root."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        _unmount(folder)
