"""Training that was killed, stopped or damaged goes on and ends with the same bytes, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import environment

from goldilocks.core import files


def digest(project):
    """The hash of every output of training and of what is made from it, by name."""
    made = ("data/model5/", "data/dynamics.parquet")
    found = {name: value for name, value in project.results().items() if name.startswith(made)}
    assert any(name.endswith("model.safetensors") for name in found)
    return found


def start(project, *command, **options):
    """Start a command in a process group of its own."""
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL} | options
    return subprocess.Popen(
        command, cwd=project.folder, env=environment(), start_new_session=True, text=True, **options
    )


def until(condition, process=None, patience=60):
    """Wait for a condition, or for a process to end; returns whether the condition came."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := condition():
            return found
        if process is not None and process.poll() is not None:
            return False
        time.sleep(0.005)
    raise AssertionError("nothing happened")


def at_work(project):
    """The processes at work in a project's folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == project.folder.resolve():
                found.append(process)
    return found


def checkpoints(project, name="step-*/SHA256SUMS"):
    return sorted((project.folder / "data" / "checkpoints").glob(f"seed-*/{name}"))


def train(project, *arguments):
    return start(project, "python", "-m", "stages.train", "0", *arguments)


@pytest.mark.longest
def test_a_training_that_is_killed_goes_on_and_ends_with_the_same_bytes(rebuilt):
    expected = digest(rebuilt)
    files.remove(rebuilt.folder / "data" / "checkpoints")
    process = rebuilt.fork(rebuilt.folder / "killed.log", "train 0")
    assert until(lambda: checkpoints(rebuilt))
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"
    last = int(checkpoints(rebuilt)[-1].parent.name.removeprefix("step-"))
    log = rebuilt.folder / "resumed.log"
    process = rebuilt.fork(log, "train 0")
    process.join()
    assert process.exitcode == 0, log.read_text("utf-8")
    assert f"train seed 0: goes on from the checkpoint of step {last}\n" in log.read_text("utf-8")
    assert digest(rebuilt) == expected


def test_a_training_that_is_stopped_saves_and_says_so(longer):
    longer.configure("train.steps=40001", "train.checkpoint_every=40000")
    log = longer.folder / "stopped.log"
    process = longer.fork(log, "train 0")
    until(lambda: checkpoints(longer, "qkv/step-000004.safetensors"))
    for _ in range(2):  # as when its group is ended, and its parent passes that on
        os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    process.kill()  # if it did not stop
    assert process.exitcode == 143
    (done,) = checkpoints(longer)
    step = int(done.parent.name.removeprefix("step-"))
    said = log.read_text("utf-8")
    assert said.splitlines()[-1] == f"train seed 0: stopped after step {step}; run it again to go on from there"
    assert "Traceback" not in said
    assert not list((longer.folder / "data" / "model5").glob(".*"))
    assert (longer.folder / "data/model5/seed-0/losses.parquet").is_file(), "the old result stays"


@pytest.mark.slow
def test_a_second_training_of_a_seed_waits_for_the_first(longer):
    longer.configure("train.steps=40001", "train.checkpoint_every=40000")
    first = train(longer)
    until(lambda: checkpoints(longer, "qkv/step-000004.safetensors"), first)
    second = train(longer)
    line = second.stderr.readline()
    assert line == (
        f"the training of seed 0: waiting for process {first.pid}, which holds data/checkpoints/seed-0.lock\n"
    )
    first.terminate()
    first.communicate()
    until(lambda: "goes on from the checkpoint" in second.stderr.readline(), second)
    second.terminate()
    second.communicate()
    assert (first.returncode, second.returncode) == (143, 143)


def interrupted(project, number=signal.SIGTERM):
    """Leave the checkpoints of a training that was stopped or killed half-way."""
    process = train(project)
    until(lambda: checkpoints(project, "step-000040/SHA256SUMS"), process)
    os.killpg(process.pid, number)
    process.communicate()
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGKILL), "it ended before"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["train.learning_rate=0.002", "code", "tokens"])
def test_a_checkpoint_is_never_used_for_another_training(longer, change):
    interrupted(longer)
    if change == "code":
        longer.append("goldilocks/model5/training.py", "# another\n")
    elif change == "tokens":
        longer.append("data/tokens/description.json", " ")
    else:
        longer.configure(change)
    done = longer.stage("train", "0")
    assert done.returncode == 0
    assert "goes on" not in done.stderr


@pytest.mark.slow
def test_a_disk_too_small_is_told_before_training(longer, small_disk_at):
    small_disk_at(longer.folder / "data" / "checkpoints", "200k")
    done = longer.stage("train", "0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: data/checkpoints: training needs ")
    assert "MB checkpoints, three at once at most, but only 0.2 MB are free" in line
