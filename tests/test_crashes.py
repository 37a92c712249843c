"""A killed rebuild leaves nothing half-written, and running it again heals it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest
from conftest import environment

REBUILD = "python -m stages.repair && dvc repro"  # as make does it: a kill can leave DVC's own register half-written


def killed_after(project, seconds):
    """Start a rebuild from nothing and kill the whole process group with -9 after a while; returns whether it lived."""
    process = subprocess.Popen(
        ["sh", "-c", REBUILD], cwd=project.folder, env=environment(), start_new_session=True,
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
    project.check("sh", "-c", REBUILD)
    assert project.read("dvc.lock") == smoke.read("dvc.lock")
    assert project.run("dvc", "status", "-q", "dvc.yaml").returncode == 0
    for path in (smoke.folder / "reports").rglob("*"):
        if path.is_file():
            assert (project.folder / path.relative_to(smoke.folder)).read_bytes() == path.read_bytes(), path
