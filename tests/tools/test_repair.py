"""Damage that a kill leaves in DVC's files is repaired; sound files are left alone."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import last_commit
import pytest

from goldilocks.core import dvc_files
from goldilocks.core.cli import UserError
from tools import repair
from tools.scheduling import pipeline

LOCK, CACHE = dvc_files.LOCK, Path(".dvc/cache")
LOCKS = (LOCK, dvc_files.ABLATIONS_LOCK)
REGISTER = repair.TMP / "rwlock"
WHOLE = last_commit.contents("dvc.lock")
GOOD = WHOLE[: WHOLE.index(b"  matrices:\n")]  # the first two stages: quicker to read


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True)


def stored(contents):
    """The path of a file in DVC's cache."""
    digest = hashlib.md5(contents).hexdigest()
    return CACHE / "files" / "md5" / digest[:2] / digest[2:]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The files of a project that repair reads: a committed `dvc.lock`, DVC's register and its cache."""
    monkeypatch.chdir(tmp_path)
    for path, contents in {
        LOCK: GOOD,
        dvc_files.ABLATIONS_LOCK: GOOD,
        REGISTER: b"{}",
        pipeline.ABLATIONS / REGISTER: b"{}",
        CACHE / "runs" / "ab" / ("ab" * 32) / ("cd" * 32): b"cmd: x\n",
        stored(b"object"): b"object",
        stored(b""): b"",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    git("init", "-q")
    git("add", "dvc.lock", "ablations")
    git("commit", "-qm", "as it is")
    repair.repair_cache(CACHE)
    return tmp_path


def repair_all():
    repair.repair_records()
    repair.repair_cache(CACHE)


def snapshot(folder):
    """Every path with its contents and time of change."""
    return {
        path: (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path != folder / repair.LAST_REPAIR
    }


ANOTHER_STYLE = GOOD.replace(b"schema: '2.0'", b'schema: "2.0"').replace(b"\n ", b"\n  ")
EXECUTABLE = GOOD + b"      isexec: true\n"


@pytest.mark.parametrize(
    ("idle", "lock"), [("{}", WHOLE), ('{"write": {}, "read": {}}', ANOTHER_STYLE), ("{}", EXECUTABLE), (None, None)]
)
def test_sound_files_are_left_byte_for_byte_and_nothing_is_printed(here, idle, lock, capfd):
    if idle is None:
        for path in (REGISTER, LOCK):
            path.unlink()
    else:
        REGISTER.write_text(idle)
        LOCK.write_bytes(lock)
    before = snapshot(here)
    repair_all()
    assert snapshot(here) == before
    assert capfd.readouterr() == ("", "")


def register(process, age=0.0):
    """Let DVC's register name a process as its reader, last written so many seconds ago."""
    REGISTER.write_text(json.dumps({"write": {}, "read": {"/d": [{"pid": process, "cmd": "dvc repro"}]}}))
    os.utime(REGISTER, times=(time.time() - age,) * 2)


def test_a_register_that_is_cut_off_or_of_processes_that_are_gone_is_removed_and_one_of_a_process_at_work_stays(capfd):
    process = subprocess.Popen(["sleep", "60"])
    register(process.pid)
    repair_all()
    assert REGISTER.exists()
    gone = (
        lambda: register(process.pid, age=3600),  # another process has its number
        lambda: register(2**22 + 5),
        lambda: (process.kill(), register(process.pid)),  # a zombie
    )
    cut = (lambda left=left: REGISTER.write_bytes(left) for left in (b"", b'{"write": {"/a', bytes(100)))
    for leave in (*gone, *cut):
        leave()
        time.sleep(0.1)
        repair_all()
        assert not REGISTER.exists()
    process.wait()
    (pipeline.ABLATIONS / REGISTER).write_bytes(b"")
    repair_all()
    removed = f"repaired {REGISTER}: removed, "
    assert capfd.readouterr().err == "".join([
        *3 * [f"{removed}the processes in it are gone\n"], *3 * [f"{removed}it was half-written\n"],
        f"repaired {pipeline.ABLATIONS / REGISTER}: removed, it was half-written\n",
    ])  # fmt: skip


LINES = GOOD.splitlines(keepends=True)
CUT = [GOOD[:25], GOOD[:1111], GOOD[:-1], *(b"".join(LINES[:-n]) for n in (1, 2, 3, 4, 5))]
HOLE = GOOD[:300] + bytes(100) + GOOD[400:]


@pytest.mark.parametrize("contents", [b"", *CUT, HOLE], ids=len)
def test_a_damaged_dvc_lock_is_put_aside_and_the_committed_one_restored(contents, capfd):
    for lock in LOCKS:
        lock.write_bytes(contents)
    repair_all()
    for lock, line in zip(LOCKS, capfd.readouterr().err.splitlines(), strict=True):
        assert lock.read_bytes() == GOOD
        damaged = lock.with_name("dvc.lock.damaged.tmp")
        assert damaged.read_bytes() == contents
        assert line.startswith(f"repaired {lock}: ")
        assert line.endswith(f"(kept as {damaged}); the committed one is in its place")


def test_without_a_sound_committed_one_dvc_writes_it_anew(capfd):
    LOCK.write_bytes(GOOD[:1111])
    git("commit", "-qam", "a damaged one")
    repair_all()
    assert not LOCK.exists()
    assert capfd.readouterr().err.endswith("no committed one is sound, so DVC will write it anew\n")


def test_the_user_chooses_between_the_sides_of_a_merge():
    merged = GOOD.replace(b"  inputs:\n", b"<<<<<<< HEAD\n=======\n  inputs:\n>>>>>>> other\n", 1)
    LOCK.write_bytes(merged)
    with pytest.raises(UserError, match=r"a merge left both sides in it.*git checkout --ours dvc.lock"):
        repair_all()
    assert LOCK.read_bytes() == merged


def test_unfinished_and_damaged_entries_of_the_cache_are_removed_and_only_new_ones_read(here, capfd, monkeypatch):
    before = {path for path in here.rglob("*") if path.is_file()}
    runs = CACHE / "runs"
    for path in ("12/" + "12" * 32, "34/" + "34" * 32):
        (runs / path).mkdir(parents=True)
    (runs / "34" / ("34" * 32) / ".Kq3xw.tmp").write_text("cmd:")
    (runs / "ab" / ("ab" * 32) / ".Kq3xw.tmp").write_text("cmd:")
    time.sleep(0.02)  # a tick of the file system's clock
    for contents, left in ((b"emptied", b""), (b"changed", b"chbnged"), (b"[]", b"[")):
        path = stored(contents)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(left)
        os.utime(path, ns=(0, 0))  # whatever its time says
    stored(b"[]").rename(f"{stored(b'[]')}.dir")
    read, md5 = [], dvc_files.md5
    monkeypatch.setattr(dvc_files, "md5", lambda path: read.append(path) or md5(path))
    repair_all()
    assert len(read) == 3
    assert {path for path in here.rglob("*") if path.is_file()} - {here / repair.TMP / "lock"} == before
    assert not [path for path in runs.glob("*/*") if not any(path.iterdir())]
    assert capfd.readouterr().err == f"repaired {CACHE}: removed unfinished or damaged entries (7)\n"


@pytest.mark.parametrize(("name", "damaged"), [("lock", LOCK), ("rwlock.lock", REGISTER)])
def test_while_dvc_holds_its_lock_nothing_is_repaired(name, damaged, monkeypatch):
    monkeypatch.setattr(repair, "PATIENCE", 0.1)
    damaged.write_bytes(b"")
    with (repair.TMP / name).open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"{name}: DVC is already running"):
            repair_all()
    assert damaged.read_bytes() == b""
