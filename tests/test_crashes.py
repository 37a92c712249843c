"""A killed rebuild leaves nothing half-written, and running it again heals it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest
from conftest import environment


def killed_after(project, seconds):
    """Start a rebuild from nothing and kill the whole process group with -9 after a while; returns whether it lived."""
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=project.folder, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
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
    project.repro()
    assert project.read("dvc.lock") == smoke.read("dvc.lock")
    assert project.run("dvc", "status", "-q").returncode == 0
    for path in (smoke.folder / "reports").rglob("*"):
        if path.is_file():
            assert (project.folder / path.relative_to(smoke.folder)).read_bytes() == path.read_bytes(), path


@pytest.mark.slow
def test_a_stage_that_is_killed_leaves_only_what_git_and_dvc_ignore(rebuilt):
    rebuilt.configure("train.steps=4001", "train.snapshot_every=4000", "train.evaluate_every=4000")
    command = ["python", "-m", "stages.train", "0"]
    process = subprocess.Popen(command, cwd=rebuilt.folder, env=environment(), stderr=subprocess.DEVNULL)
    half = rebuilt.folder / "data" / "model5" / ".seed-0.tmp"
    for _ in range(200):
        time.sleep(0.1)
        if half.is_dir() and any(half.rglob("*.safetensors")):
            break
    process.kill()
    process.wait()
    assert half.is_dir()
    rebuilt.check("git", "checkout", "-q", "params.yaml")
    rebuilt.configure(preset="smoke")
    assert rebuilt.run("dvc", "status", "-q").returncode == 0, "the half-written folder counts for nothing"
    assert ".tmp" not in rebuilt.check("git", "status", "--porcelain")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stage_that_is_stopped_cleans_up_and_says_so(rebuilt, number, code):
    rebuilt.configure("train.steps=40001", "train.snapshot_every=40000", "train.evaluate_every=40000")
    command = ["python", "-m", "stages.train", "0"]
    process = subprocess.Popen(command, cwd=rebuilt.folder, env=environment(), stderr=subprocess.PIPE, text=True)
    half = rebuilt.folder / "data" / "model5" / ".seed-0.tmp"
    for _ in range(200):
        time.sleep(0.1)
        if half.is_dir() and any(half.rglob("*.safetensors")):
            break
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert said.splitlines()[-1] in ("terminated", "interrupted")
    assert "Traceback" not in said
    assert not half.exists()
    assert (rebuilt.folder / "data" / "model5" / "seed-0" / "losses.parquet").is_file(), "the old result stays"
