"""A killed rebuild leaves nothing half-written, and running it again heals it."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import time

import pytest
from test_resume import start

REBUILD = "python -m tools.repair && dvc repro"  # as make does it: a kill can leave DVC's own register half-written


def stages_of(lock):
    return sorted(re.split(r"^(?=  \S)", lock, flags=re.MULTILINE))


def text_of(folder):
    return "".join(path.read_text() for path in folder.iterdir())


def killed_after(project, seconds):
    """Start a rebuild from nothing and kill the whole process group with -9 after a while; returns whether it lived."""
    process = start(project, "sh", "-c", REBUILD, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


@pytest.mark.slow
def test_a_rebuild_that_is_killed_at_random_moments_ends_as_an_uninterrupted_one(project, smoke):
    project.configure(preset="smoke")
    moments = random.Random(20170612)
    kills = sum(killed_after(project, moments.uniform(0.5, 9)) for _ in range(8))
    assert kills >= 3
    project.check("sh", "-c", REBUILD)
    assert project.read("dvc.lock") == smoke.read("dvc.lock")
    assert project.run("dvc", "status", "-q", "dvc.yaml").returncode == 0
    for path in (smoke.folder / "reports").rglob("*"):
        if path.is_file():
            assert (project.folder / path.relative_to(smoke.folder)).read_bytes() == path.read_bytes(), path


def test_dvc_stops_at_what_is_left_and_goes_on_when_it_is_mended(rebuilt):
    rebuilt.check("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qam", "smoke size")
    before = rebuilt.read("dvc.lock")
    (rebuilt.folder / "dvc.lock").write_text(before[: before.index("md5:", 8000) + 2])
    assert "'./dvc.lock' is invalid" in rebuilt.run("dvc", "repro").stderr
    (rebuilt.folder / ".dvc" / "tmp" / "rwlock").write_text("")
    said = rebuilt.tool("repair").stderr
    assert said.count("repaired") == 2, said
    assert rebuilt.repro() == set()
    assert rebuilt.read("dvc.lock") == before
    assert rebuilt.tool("repair").stderr == ""


@pytest.mark.slow
def test_the_run_cache_gives_back_what_the_committed_dvc_lock_does_not_know(rebuilt):
    before = rebuilt.read("dvc.lock")
    (rebuilt.folder / "dvc.lock").write_text("")
    waiting = next(path for path in rebuilt.folder.glob(".dvc/cache/runs/*/*") if "stages.matrices" in text_of(path))
    for path in waiting.iterdir():
        path.unlink()
    assert rebuilt.tool("repair").stderr.count("repaired") == 2
    ran = rebuilt.repro()
    assert "matrices" in ran
    assert not ran & {"inputs", "train@0", "train@1", "figures"}
    assert rebuilt.read("dvc.lock") == before


@pytest.mark.slow
def test_what_misleads_dvc_in_its_cache_does_so_no_more_when_it_is_mended(rebuilt):
    waiting = next(path for path in rebuilt.folder.glob(".dvc/cache/runs/*/*") if "stages.matrices" in text_of(path))
    for path in waiting.iterdir():
        path.unlink()
    lock = rebuilt.read("dvc.lock")
    entry = lock[lock.index("path: data/sweep.parquet\n") :].split("md5: ")[1].split("\n")[0]
    emptied = rebuilt.folder / ".dvc" / "cache" / "files" / "md5" / entry[:2] / entry[2:]
    result = rebuilt.folder / "data" / "sweep.parquet"
    contents = result.read_bytes()
    emptied.chmod(0o644)
    emptied.write_bytes(b"")
    emptied.chmod(0o444)  # DVC takes what is read-only for whole
    result.unlink()
    (rebuilt.folder / "dvc.lock").unlink()
    assert "failed to reproduce 'matrices'" in rebuilt.run("dvc", "repro").stderr
    (rebuilt.folder / "dvc.lock").unlink()
    assert "damaged entries (2)" in rebuilt.tool("repair").stderr
    assert {"matrices", "sweep"} <= rebuilt.repro()
    assert result.read_bytes() == contents
    assert stages_of(rebuilt.read("dvc.lock")) == stages_of(lock), "in whatever order"


@pytest.mark.slow
def test_a_damaged_object_of_a_cache_elsewhere_is_made_again_in_every_clone_that_shares_it(rebuilt, tmp_path):
    shared = tmp_path / "shared"
    rebuilt.check("dvc", "cache", "dir", "--local", str(shared))
    (rebuilt.folder / ".dvc" / "cache").rename(shared)
    other = rebuilt.copy(tmp_path / "other")
    result = rebuilt.folder / "data" / "sweep.parquet"
    contents = result.read_bytes()
    digest = hashlib.md5(contents).hexdigest()
    damaged = shared / "files" / "md5" / digest[:2] / digest[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(contents[:-1] + b"?")
    damaged.chmod(0o444)
    for project in (rebuilt, other):
        (project.folder / "data" / "sweep.parquet").unlink()
    assert f"repaired {shared}: removed unfinished or damaged entries (1)" in rebuilt.tool("repair").stderr
    assert "sweep" in rebuilt.repro()
    assert other.tool("repair").stderr.count("repaired") == 0
    assert other.repro() == {"sweep"}, "whose metrics are in git, so that the run cache leaves it out"
    for project in (rebuilt, other):
        assert (project.folder / "data" / "sweep.parquet").read_bytes() == contents


def killed_while_it_keeps_its_records(project, moments):
    """Start a rebuild and kill it at, or within 20 ms of, a change of `dvc.lock` or DVC's register."""
    record = project.folder / moments.choice(["dvc.lock", ".dvc/tmp/rwlock"])
    changes, last = moments.randint(1, 5), None
    process = start(project, "dvc", "repro")
    until = time.monotonic() + 15
    while changes and process.poll() is None and time.monotonic() < until:
        now = (record.stat().st_size, record.stat().st_mtime_ns) if record.exists() else None
        changes -= now != last
        last = now
    time.sleep(moments.choice([0, 0, 0.002, 0.02]))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    said = process.communicate()[1]
    assert process.returncode in (-signal.SIGKILL, 0), said


@pytest.mark.slow
def test_a_rebuild_that_is_killed_while_dvc_keeps_its_records_goes_on_and_ends_as_an_uninterrupted_one(project, smoke):
    project.configure(preset="smoke")
    moments = random.Random(20250301)
    mended = ""
    for _ in range(10):
        killed_while_it_keeps_its_records(project, moments)
        mended += project.check("python", "-m", "tools.repair")
    project.repro()
    assert "repaired" in mended
    assert project.read("dvc.lock") == smoke.read("dvc.lock")
    assert project.read("reports/index.html") == smoke.read("reports/index.html")
