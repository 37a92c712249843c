"""After a fault `make repro` gives the right result or ends with a clear error, and without the fault it heals."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from test_environment import lend_environment, make
from test_resume import start

from goldilocks.core import dvc_files, files

pytestmark = pytest.mark.slow
MESSAGE = re.compile(r"^(error|ERROR): \S", re.MULTILINE)
ROOMY = 2**29  # bytes
SWEPT = "data/sweep.parquet"
RECORDS = ("dvc.lock", ".dvc/tmp/rwlock")


def cached(project, path):
    """The object of DVC's cache that holds an output, or the list of its files."""
    (md5,) = set(re.findall(rf"path: {path}\n      hash: md5\n      md5: (\S+)\n", project.read("dvc.lock")))
    return project.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def damage(path, contents):
    """Give an object of the cache other contents; DVC takes what is read-only for whole."""
    path.chmod(0o644)
    path.write_bytes(contents)
    path.chmod(0o444)


def damage_cached_run(project, stage):
    """Leave of the cached run of a stage what a kill leaves: an empty folder."""
    for folder in project.folder.glob(".dvc/cache/runs/*/*"):
        if any(f"stages.{stage}" in path.read_text() for path in folder.iterdir()):
            for path in folder.iterdir():
                path.unlink()
            return
    raise AssertionError(f"{stage} was never cached")


def while_dvc_keeps_records(project, process, moments):
    """Wait for a change of `dvc.lock` or DVC's register, or up to 20 ms longer."""
    record, changes, last = project.folder / moments.choice(RECORDS), moments.randint(1, 5), None
    until = time.monotonic() + 15
    while changes and process.poll() is None and time.monotonic() < until:
        now = (record.stat().st_size, record.stat().st_mtime_ns) if record.exists() else None
        changes -= now != last
        last = now
    time.sleep(moments.choice([0, 0, 0.002, 0.02]))


def test_a_rebuild_that_is_killed_again_and_again_ends_as_an_uninterrupted_one(project, smoke):
    project.configure(preset="smoke")
    moments, kills, repaired = random.Random(20170612), 0, ""
    for number in range(12):
        process = start(project, "dvc", "repro")
        if number % 3:
            while_dvc_keeps_records(project, process, moments)
        else:
            time.sleep(moments.uniform(0.5, 9))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        said = process.communicate()[1]
        assert process.returncode in (-signal.SIGKILL, 0), said
        repaired += project.check("python", "-m", "tools.repair")
    project.repro()
    assert kills >= 3
    assert "repaired" in repaired
    assert project.results() == smoke.results()


def test_without_a_dvc_lock_a_shared_cache_gives_back_what_is_whole_in_it(rebuilt, tmp_path):
    expected = rebuilt.results()
    shared = tmp_path / "shared"
    rebuilt.check("dvc", "cache", "dir", "--local", str(shared))
    damage_cached_run(rebuilt, "matrices")
    damage(cached(rebuilt, SWEPT), b"")
    (rebuilt.folder / ".dvc" / "cache").rename(shared)
    other = rebuilt.copy(tmp_path / "other")
    for path in (rebuilt.folder / "dvc.lock", rebuilt.folder / SWEPT, other.folder / SWEPT):
        path.unlink()
    assert "failed to reproduce 'matrices'" in rebuilt.run("dvc", "repro").stderr
    (rebuilt.folder / "dvc.lock").unlink()
    assert f"repaired {shared}: removed unfinished or damaged entries (2)" in rebuilt.tool("repair").stderr
    ran = rebuilt.repro()
    assert {"matrices", "sweep"} <= ran
    assert not ran & {"inputs", "train@0", "train@1"}
    assert rebuilt.results() == expected
    assert "repaired" not in other.tool("repair").stderr
    assert other.repro() == set(), "the shared cache has it again"
    assert other.results() == expected


@pytest.fixture
def unswept(rebuilt):
    """A rebuilt project, committed, and the stage sweep undone as if it had never run."""
    lend_environment(rebuilt)
    rebuilt.git("add", "--all")
    rebuilt.commit("smoke size")
    rebuilt.expected = rebuilt.results()
    cached(rebuilt, SWEPT).unlink()
    lock = rebuilt.read("dvc.lock")
    (rebuilt.folder / "dvc.lock").write_text(lock.replace(dvc_files.blocks(lock)["sweep"], ""))
    for path in (SWEPT, "reports/metrics/sweep.json", "reports/plots/sweep.csv", ".dvc/cache/runs"):
        files.remove(rebuilt.folder / path)
    return rebuilt


def judge(project, code, said):
    """A run that went well gave the right result; any other one said why."""
    assert "Traceback (most recent call last)" not in said, said
    if code == 0:
        assert project.results() == project.expected
    else:
        assert MESSAGE.search(said), said


def rebuild(project, **extra):
    done = make(project, "repro", **extra)
    judge(project, done.returncode, done.stdout + done.stderr)


def assert_heals(project):
    done = make(project, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.results() == project.expected


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize(("place", "fault"), [("data", "full"), (".dvc", "full"), ("reports", "read-only")])
def test_a_disk_that_is_full_or_read_only(unswept, small_disk_at, tmp_path, place, fault):
    folder = unswept.folder / place
    contents = folder.rename(tmp_path / "contents")
    small_disk_at(folder, str(ROOMY))
    shutil.copytree(contents, folder, symlinks=True, dirs_exist_ok=True)
    files.remove(folder / "checkpoints")  # which `make repro` does, too
    disk = os.statvfs(folder)
    written = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    remount(folder, "ro" if fault == "read-only" else f"size={written}")
    rebuild(unswept)
    assert unswept.results() != unswept.expected, "the fault was there"
    remount(folder, f"rw,size={ROOMY}")
    assert_heals(unswept)


def test_no_space_for_temporary_files(unswept, small_disk_at, tmp_path):
    small_disk_at(tmp_path / "full", "64k")
    with pytest.raises(OSError, match="No space left"), (tmp_path / "full" / "filler").open("wb", 0) as filler:
        while True:
            filler.write(bytes(2**12))
    rebuild(unswept, TMPDIR=str(tmp_path / "full"))
    assert_heals(unswept)


@pytest.mark.parametrize("name", ["HOME", "TMPDIR"])
def test_a_folder_of_the_users_that_is_a_file(unswept, tmp_path, name):
    (tmp_path / "a file").touch()
    rebuild(unswept, **{name: str(tmp_path / "a file")}, XDG_CACHE_HOME="", XDG_CONFIG_HOME="")
    assert_heals(unswept)


def test_outputs_with_other_bytes_and_their_old_size_and_time_and_one_gone_with_its_object_in_the_cache(unswept):
    unswept.run("dvc", "status", "--quiet")
    for path in ("data/tokens/tokens.safetensors", "reports/metrics/softmax.json"):
        output = unswept.folder / path
        before, contents = output.stat(), output.read_bytes()
        output.unlink()  # it may be a link to the cache
        output.write_bytes(contents[:-2] + bytes([contents[-2] ^ 1]) + contents[-1:])
        os.utime(output, ns=(before.st_atime_ns, before.st_mtime_ns))
    cached(unswept, "data/matrices").unlink()
    files.remove(unswept.folder / "data/matrices")
    assert_heals(unswept)


def test_two_rebuilds_and_a_verification_at_once(unswept):
    runs = [start(unswept, "make", "repro", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    verified = unswept.tool("verify", "--stages", "sweep")
    said = [process.communicate()[0] for process in runs]
    for process, printed in zip(runs, said, strict=True):
        judge(unswept, process.returncode, printed)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert_heals(unswept)
