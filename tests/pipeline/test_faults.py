"""After a fault `make repro` gives the right result or ends with a clear error, and a plain re-run heals it.

Other files test other faults: test_crashes.py and test_resume.py kills, damaged records and objects of the cache, and
full disks under a training; test_repair.py a damaged `dvc.lock`, merges and git's index; test_check.py damaged inputs;
test_unchanged.py edits while a stage runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import lock_entries
from test_environment import lend_environment, make
from test_resume import start, until

from goldilocks.core import files

pytestmark = pytest.mark.slow
MESSAGE = re.compile(r"^(error|ERROR): \S", re.MULTILINE)
ROOMY = 2**29  # bytes
SWEPT = "data/sweep.parquet"


def cached(project, path):
    """The object of DVC's cache that holds an output, or the list of its files."""
    (md5,) = set(re.findall(rf"path: {path}\n      hash: md5\n      md5: (\S+)\n", project.read("dvc.lock")))
    return project.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.fixture
def project(rebuilt):
    """A rebuilt project, committed, and the stage sweep undone as if it had never run."""
    lend_environment(rebuilt)
    rebuilt.git("add", "--all")
    rebuilt.git("commit", "--quiet", "--message", "smoke size")
    rebuilt.expected = rebuilt.results()
    cached(rebuilt, SWEPT).unlink()
    lock = rebuilt.read("dvc.lock")
    (rebuilt.folder / "dvc.lock").write_text(lock.replace(lock_entries(lock)["sweep"], ""))
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


def heals(project):
    done = make(project, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.results() == project.expected


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def used(folder):
    """The bytes that are written on a disk."""
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


@pytest.mark.parametrize("place", ["data", ".dvc", "reports"])
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only(project, small_disk_at, tmp_path, place, fault):
    folder = project.folder / place
    contents = folder.rename(tmp_path / "contents")
    small_disk_at(folder, str(ROOMY))
    shutil.copytree(contents, folder, symlinks=True, dirs_exist_ok=True)
    remount(folder, "ro" if fault == "read-only" else f"size={used(folder)}")
    rebuild(project)
    assert project.results() != project.expected, "the fault was there"
    remount(folder, f"rw,size={ROOMY}")
    heals(project)


@pytest.mark.parametrize("name", ["TMPDIR", "DVC_SITE_CACHE_DIR"])
def test_no_space_for_temporary_files(project, small_disk_at, tmp_path, name):
    small_disk_at(tmp_path / "full", "64k")
    with pytest.raises(OSError, match="No space left"), (tmp_path / "full" / "filler").open("wb", 0) as filler:
        while True:
            filler.write(bytes(2**12))
    rebuild(project, **{name: str(tmp_path / "full")})
    heals(project)


@pytest.mark.parametrize("name", ["HOME", "TMPDIR"])
def test_a_home_or_a_folder_for_temporary_files_that_is_a_file(project, tmp_path, name):
    (tmp_path / "a file").touch()
    rebuild(project, **{name: str(tmp_path / "a file")}, XDG_CACHE_HOME="", XDG_CONFIG_HOME="")
    heals(project)


@pytest.mark.parametrize("path", ["data/matrices/experiment-1.safetensors", "reports/metrics/softmax.json"])
def test_an_output_with_other_bytes_and_its_old_size_and_time(project, path):
    project.tool("repair")
    project.run("dvc", "status", "--quiet", "dvc.yaml")
    output = project.folder / path
    before, contents = output.stat(), output.read_bytes()
    output.unlink()  # it may be a link to the cache
    output.write_bytes(contents[:-2] + bytes([contents[-2] ^ 1]) + contents[-1:])
    os.utime(output, ns=(before.st_atime_ns, before.st_mtime_ns))
    heals(project)


@pytest.mark.parametrize("whole", [True, False], ids=["the list of files", "a file"])
def test_an_object_of_the_cache_is_gone_and_so_is_the_output(project, whole):
    listed, output = cached(project, "data/matrices"), project.folder / "data/matrices"
    digest = hashlib.md5((output / "experiment-1.safetensors").read_bytes()).hexdigest()
    (listed if whole else listed.parents[1] / digest[:2] / digest[2:]).unlink()
    files.remove(output)
    heals(project)


def test_two_rebuilds_at_once(project):
    runs = [start(project, "make", "repro", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [process.communicate()[0] for process in runs]
    for process, printed in zip(runs, said, strict=True):
        judge(project, process.returncode, printed)
    heals(project)


def test_a_verification_beside_a_rebuild(project):
    process = start(project, "make", "repro", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    verified = project.tool("verify", "--stages", "sweep")
    printed = process.communicate()[0]
    judge(project, process.returncode, printed)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    heals(project)


def mark(path):
    """What changes whenever a file is written."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns


@pytest.mark.parametrize("record", ["dvc.lock", ".dvc/tmp/rwlock"])
@pytest.mark.parametrize("seconds", [0, 0.002])
def test_a_kill_as_make_repro_writes_its_records(project, record, seconds):
    path = project.folder / record
    before = mark(path)
    process = start(project, "make", "repro", stderr=subprocess.DEVNULL)
    until(lambda: mark(path) != before, process)
    time.sleep(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    heals(project)
