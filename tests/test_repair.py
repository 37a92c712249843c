"""What a kill leaves behind is mended, and what is sound is left alone."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import last_commit
import psutil
import pytest
from closure import ROOT
from conftest import environment

from stages import repair
from stages.common.cli import UserError
from stages.mending import trust

WHOLE = last_commit.contents("dvc.lock")
GOOD = WHOLE[: WHOLE.index(b"  matrices:\n")]  # the first two stages: quicker to read
GONE = 2**22 + 5  # more processes than Linux counts


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project folder as far as repair sees it: a sound `dvc.lock`, committed, DVC's register and its cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repair"])
    for path, contents in {
        "dvc.lock": GOOD,
        ".dvc/config": b"",
        ".dvc/tmp/rwlock": b"{}",
        f".dvc/cache/runs/ab/{'ab' * 32}/{'cd' * 32}": b"cmd: x\n",
        ".dvc/cache/files/md5/a8/cfde6331bd59eb2ac96f8911c4b666": b"object",
        "data/result": b"object",
        ".dvc/cache/files/md5/d4/1d8cd98f00b204e9800998ecf8427e": b"",
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(contents)
    git("init", "-q")
    git("add", "dvc.lock")
    git("commit", "-qm", "as it is")
    trust.Look().note()
    return tmp_path


def snapshot(folder):
    """Every path with its contents and time of change."""
    return {
        path: (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns) for path in folder.rglob("*")
    }


@contextmanager
def alive(*words, **options):
    """A process of ours, as an entry of DVC's register that claims its number and calls itself `dvc repro`."""
    process = subprocess.Popen(words, **options)
    try:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(words[0].encode()):
            time.sleep(0.01)  # until the new program is in place
        yield {"pid": process.pid, "cmd": "/some/where/dvc repro"}
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def like_dvc(tmp_path):
    """The command line of a live process that looks like `dvc repro`: Python, with a script called dvc."""
    script = tmp_path / "bin" / "dvc"
    script.parent.mkdir()
    script.write_text("import time; time.sleep(60)")
    return [sys.executable, str(script), "repro"]


def register(write=None, read=None):
    repair.RWLOCK.write_text(json.dumps({"write": write or {}, "read": read or {}}))
    return json.loads(repair.RWLOCK.read_text())


@pytest.mark.parametrize("idle", ["{}", '{"write": {}}', '{"write": {}, "read": {}}'])
def test_what_is_sound_is_left_byte_for_byte_and_nothing_is_said(here, idle, capfd):
    repair.RWLOCK.write_text(idle)
    repair.DVC_LOCK.write_bytes(WHOLE)
    before = snapshot(here)
    repair.main()
    assert snapshot(here) == before
    repair.RWLOCK.unlink()
    repair.DVC_LOCK.unlink()
    before = snapshot(here)
    repair.main()
    assert snapshot(here) == before, "files that are not there are not missed"
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "left",
    [b"", b'{"write": {"/a', b"[]", b"null", b"\xff\xfe", bytes(100), b'{"write": {"a": {"pid": "1"}}}', b'{"x": {}}'],
)
def test_a_register_that_cannot_be_read_is_forgotten(left, capfd):
    repair.RWLOCK.write_bytes(left)
    repair.main()
    assert not repair.RWLOCK.exists()
    assert capfd.readouterr().err == f"repaired {repair.RWLOCK}: removed, it was half-written\n"


def test_entries_of_processes_that_are_gone_are_forgotten_and_those_of_a_live_dvc_stay(here, like_dvc, capfd):
    with alive(*like_dvc) as dvc, alive("sleep", "60") as reused:
        gone = {"pid": GONE, "cmd": "dvc repro"}
        register({"/a": dvc, "/b": reused, "/c": gone}, {"/d": [gone, dvc], "/e": [reused]})
        repair.main()
        assert json.loads(repair.RWLOCK.read_text()) == {"write": {"/a": dvc}, "read": {"/d": [dvc]}}
        assert capfd.readouterr().err == f"repaired {repair.RWLOCK}: removed entries of processes that are gone (4)\n"
        before = snapshot(here / ".dvc" / "tmp")[here / repair.RWLOCK]
        repair.main()
        assert snapshot(here / ".dvc" / "tmp")[here / repair.RWLOCK] == before
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("at_work", [False, True])
def test_outputs_keep_their_times_while_a_dvc_is_at_work(here, like_dvc, at_work):
    output = here / "data" / "output"
    output.parent.mkdir(exist_ok=True)
    output.touch()
    os.utime(output, ns=(0, 0))
    with alive(*like_dvc) as dvc:
        register(read={"/d": [dvc]} if at_work else {})
        repair.main()
    assert (output.stat().st_mtime_ns == 0) == at_work


@pytest.mark.usefixtures("here")
def test_a_zombie_and_a_dvc_at_work_elsewhere_hold_nothing(like_dvc):
    with alive(*like_dvc, cwd="/") as elsewhere, alive("sleep", "60") as zombie:
        os.kill(zombie["pid"], signal.SIGKILL)
        while " Z " not in Path(f"/proc/{zombie['pid']}/stat").read_text():
            time.sleep(0.01)
        assert not repair.lives(zombie)
        assert not repair.lives(elsewhere)
        assert repair.lives(elsewhere | {"cmd": " ".join(like_dvc[1:])}), "the very command, wherever it was started"


@pytest.mark.usefixtures("here")
def test_what_may_not_be_looked_at_is_taken_for_alive_only_if_it_may_be_dvc(like_dvc, monkeypatch):
    def denied(_):
        raise psutil.AccessDenied

    with alive(*like_dvc, cwd="/") as dvc, alive("sleep", "60") as reused:
        monkeypatch.setattr(psutil.Process, "cwd", denied)
        assert (repair.lives(dvc), repair.lives(reused)) == (True, False)
        monkeypatch.setattr(psutil.Process, "cmdline", denied)
        assert repair.lives(reused)


@pytest.mark.parametrize(
    ("words", "command", "same"),
    [
        (["python", "/x/bin/dvc", "repro"], "/x/bin/dvc repro", True),
        (["python", "-m", "dvc", "repro"], "/lib/dvc/__main__.py repro", True),
        (["python", "-m", "my.tool", "x"], "/lib/my/tool.py x", True),
        (["python", "-c", "import dvc.api"], "-c", True),
        (["sleep", "60"], "/x/bin/dvc repro", False),
        (["", "x"], "/x/bin/dvc repro", False),
        ([], "/x/bin/dvc repro", False),
    ],
)
def test_a_process_is_known_by_its_command_line(words, command, same):
    assert repair.is_same_process(words, command) is same


def cuts():
    """Places where a half-written `dvc.lock` ends: some anywhere, and the ends of the last entry's lines."""
    lines = GOOD.splitlines(keepends=True)
    return [0, 1, 8, 25, 700, 1111, len(GOOD) - 1, *(len(b"".join(lines[:-n])) for n in (1, 2, 3, 4, 5))]


HOLE = GOOD[:300] + bytes(100) + GOOD[400:]
NO_HEAD = GOOD[GOOD.index(b"stages:") :]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("contents", [*(GOOD[:n] for n in cuts()), HOLE, NO_HEAD, bytes(99), b"\xff", b"- a list\n"])
def test_a_damaged_dvc_lock_is_put_aside_and_the_committed_one_restored(contents, capfd):
    repair.DVC_LOCK.write_bytes(contents)
    repair.main()
    assert repair.DVC_LOCK.read_bytes() == GOOD
    assert repair.damaged(repair.DVC_LOCK).read_bytes() == contents
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("repaired dvc.lock: ")
    assert line.endswith("(kept as dvc.lock.damaged.tmp); the committed one is in its place")


@pytest.mark.usefixtures("here")
def test_the_lock_file_of_the_ablations_is_mended_too(capfd):
    lock = repair.LOCKS[1]
    lock.parent.mkdir()
    lock.write_bytes(GOOD)
    git("add", "-A")
    git("commit", "-qm", "ablations")
    lock.write_bytes(GOOD[:1111])
    repair.main()
    assert lock.read_bytes() == repair.DVC_LOCK.read_bytes() == GOOD
    assert "(kept as ablations/dvc.lock.damaged.tmp); the committed one is in its place" in capfd.readouterr().err


@pytest.mark.usefixtures("here")
def test_without_a_sound_committed_one_dvc_writes_it_anew(capfd):
    repair.DVC_LOCK.write_bytes(GOOD[:1111])
    git("commit", "-qam", "a damaged one")
    repair.main()
    assert not repair.DVC_LOCK.exists()
    assert repair.damaged(repair.DVC_LOCK).read_bytes() == GOOD[:1111]
    assert capfd.readouterr().err.endswith("no committed one is sound, so DVC will write it anew\n")


@pytest.mark.usefixtures("here")
def test_a_sound_dvc_lock_in_another_style_stays():
    other = GOOD.replace(b"schema: '2.0'", b'schema: "2.0"')
    repair.DVC_LOCK.write_bytes(other)
    repair.main()
    assert repair.DVC_LOCK.read_bytes() == other
    assert not repair.damaged(repair.DVC_LOCK).exists()


@pytest.mark.usefixtures("here")
def test_both_sides_of_a_merge_are_for_the_user_to_choose_from():
    repair.DVC_LOCK.write_bytes(GOOD.replace(b"  inputs:\n", b"<<<<<<< HEAD\n=======\n  inputs:\n>>>>>>> other\n", 1))
    before = repair.DVC_LOCK.read_bytes()
    number = before[: before.index(b"<")].count(b"\n") + 1
    with pytest.raises(UserError, match=rf"lines {number}, {number + 1}, {number + 3}\).*git checkout --ours dvc.lock"):
        repair.main()
    assert repair.DVC_LOCK.read_bytes() == before
    assert not repair.damaged(repair.DVC_LOCK).exists()


def test_what_misleads_in_the_cache_is_removed(here, capfd):
    before = set(here.rglob("*"))
    for path in ("runs/12/" + "12" * 32, "runs/34/" + "34" * 32):
        (trust.CACHE / path).mkdir(parents=True)
    (trust.CACHE / "runs" / "34" / ("34" * 32) / ".Kq3xw.tmp").write_text("cmd:")
    (trust.CACHE / "runs" / "ab" / ("ab" * 32) / ".Kq3xw.tmp").write_text("cmd:")
    empty = trust.CACHE / "files" / "md5" / "a8" / "00b1a9f9b9ff4cd4b3f2a2d2a0a111"
    empty.touch()
    empty.with_name(".Kq3xw.tmp").touch()  # DVC overwrites or ignores it
    repair.main()
    assert not empty.exists()
    assert {path for path in here.rglob("*") if path.is_file()} == {path for path in before if path.is_file()} | {
        here / empty.with_name(".Kq3xw.tmp"), here / repair.TMP / "lock"
    }  # fmt: skip
    assert not [path for path in trust.CACHE.glob("runs/*/*") if not any(path.iterdir())]
    assert capfd.readouterr().err == f"repaired {trust.CACHE}: removed unfinished or damaged entries (5)\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:30], lambda b: b[:0], lambda b: b[:40] + b"x" + b[41:]]
)
def test_a_damaged_index_of_git_is_refused(damage):
    whole = repair.INDEX.read_bytes()
    repair.INDEX.write_bytes(damage(whole))
    with pytest.raises(UserError, match=r"^.git/index: half-written or damaged: `rm .git/index && git reset` makes it"):
        repair.main()
    repair.INDEX.unlink()
    git("reset", "-q")
    repair.main()
    git("-c", "index.skipHash=true", "update-index", "--force-write-index")
    repair.main()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_while_a_dvc_is_at_work_nothing_is_mended(name, monkeypatch):
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.1)
    damaged = repair.DVC_LOCK if name == "lock" else repair.RWLOCK
    damaged.write_bytes(b"")
    with (repair.TMP / name).open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"{name}: another DVC process holds it"):
            repair.main()
        assert damaged.read_bytes() == b""
        fcntl.flock(handle, fcntl.LOCK_UN)
        repair.main()
    assert not damaged.exists() or damaged.read_bytes() == GOOD


@pytest.mark.usefixtures("here")
def test_a_dvc_lock_that_is_being_written_is_waited_for(monkeypatch):
    @contextmanager
    def as_dvc_writes(name):
        if name == "lock":
            repair.DVC_LOCK.write_bytes(GOOD)
        yield

    monkeypatch.setattr(repair, "held", as_dvc_writes)
    repair.DVC_LOCK.write_bytes(GOOD[:1111])
    repair.main()
    assert repair.DVC_LOCK.read_bytes() == GOOD
    assert not repair.damaged(repair.DVC_LOCK).exists()


def test_it_starts_fast():
    judge = "import sys; from stages import repair; assert repair.is_sound(open('dvc.lock', 'rb').read()); "
    code = judge + "print({'torch', 'pandas', 'numpy', 'dvc', 'ruamel'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert printed.stdout == "set()\n"
