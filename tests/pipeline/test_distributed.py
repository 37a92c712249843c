"""Training by several processes: real ones, over gloo on this machine."""

import os
import signal
import socket
import sys

import pytest
from test_resume import at_work, checkpoints, digest, interrupted, start, until

from goldilocks.core import files, tables

pytestmark = pytest.mark.slow
LOSSES = "data/model5/seed-0/losses.parquet"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
STANDALONE = (*TORCHRUN, "--standalone", "--nproc-per-node", "2")
TRAIN = ("python", "-m", "stages.train", "0")


def outputs(project):
    """The hashes of what one training of seed 0 wrote, and its losses; its checkpoints are removed."""
    files.remove(project.folder / "data" / "checkpoints")
    found = {name: value for name, value in digest(project).items() if "seed-0" in name}
    return found, tables.read(project.folder / LOSSES, "losses")


def trained(project, *command):
    done = project.run(*(command or TRAIN))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("parameters; on disk") == 1, "one process tells how it goes"
    return outputs(project)


def workers(project):
    """The processes that train in this project."""
    return [process for process in at_work(project) if process.cmdline()[1:4] == ["-u", "-m", "stages.train"]]


def test_two_processes_train_as_one(rebuilt):
    alone = tables.read(rebuilt.folder / LOSSES, "losses")
    rebuilt.configure("train.processes=2", "train.accumulate=2")
    _, together = trained(rebuilt)
    assert (alone["step"] == together["step"]).all()
    assert len(alone) > 21
    difference = ((alone["loss"] - together["loss"]) / alone["loss"]).abs().max()
    assert difference < 1e-4


@pytest.mark.alone
def test_two_processes_repeat_to_the_bit_however_they_are_started_or_stopped_and_dvc_records_them(longer):
    longer.configure("train.processes=2")
    longer.check("dvc", "repro", "tokens")
    expected, _ = trained(longer)
    assert trained(longer)[0] == expected
    interrupted(longer, signal.SIGKILL)
    until(lambda: not workers(longer))
    done = longer.stage("train", "0")
    assert "goes on from the checkpoint of step" in done.stderr
    assert outputs(longer)[0] == expected
    assert trained(longer, *STANDALONE, *TRAIN[1:])[0] == expected
    longer.check("dvc", "commit", "--force", "train@0")
    assert "Stage 'train@0' didn't change, skipping" in longer.check("dvc", "repro", "train@0")
    assert outputs(longer)[0] == expected


@pytest.mark.alone
def test_torchrun_restarts_workers_of_which_one_was_killed_and_two_machines_meet(longer):
    longer.configure("train.processes=2")
    expected, _ = trained(longer, *STANDALONE, *TRAIN[1:])
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    try:
        process = start(longer, *STANDALONE, "--max-restarts", "2", *TRAIN[1:])
    finally:
        del os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"]
    assert until(lambda: checkpoints(longer, "step-000040/SHA256SUMS"), process)
    workers(longer)[-1].kill()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "goes on from the checkpoint of step" in said
    assert outputs(longer)[0] == expected
    with socket.create_server(("localhost", 0)) as listener:
        unused_port = listener.getsockname()[1]
    meeting = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "here")
    command = (*TORCHRUN, *meeting, "--rdzv-endpoint", f"localhost:{unused_port}", *TRAIN[1:])
    processes = [start(longer, *command) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert outputs(longer)[0] == expected


@pytest.mark.alone
def test_another_number_of_processes_is_refused_unless_asked_for(longer):
    interrupted(longer)
    longer.configure("train.processes=2")
    refused = longer.run(*TRAIN)
    assert refused.returncode == 2
    assert "made by 1 processes of 1 threads, this is a training by 2 processes of 1 threads" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert checkpoints(longer)
    done = longer.run(*TRAIN, "--any-world-size")
    assert done.returncode == 0
    assert "goes on from the checkpoint of step" in done.stderr


@pytest.mark.alone
def test_several_processes_fail_and_stop_as_one_does(longer):
    longer.configure("train.processes=2", "train.steps=40001", "train.checkpoint_every=40000")
    process = start(longer, *TRAIN)
    until(lambda: checkpoints(longer, "qkv/step-000004.safetensors"), process)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143
    assert checkpoints(longer)
    assert "train seed 0: stopped after step " in said
    assert "Traceback" not in said
    longer.configure("train.learning_rate=10.0", "train.weight_decay=10.0")
    done = longer.stage("train", "0")
    assert done.returncode == 2
    assert done.stderr.count("error: training: the loss became nan at step ") == 1
    assert "Traceback" not in done.stderr


def test_another_number_of_processes_than_the_parameters_say_is_refused(project):
    done = project.run(*STANDALONE, *TRAIN[1:])
    assert done.returncode != 0
    problem = "params.yaml: train.processes = 1, and torchrun started 2; set it to 2"
    told = {line for line in done.stderr.splitlines() if line.startswith("error: ")}
    possible = {f"error: {problem}", f"error: process 1: {problem}"}
    assert told
    assert told <= possible, "the first one to say so may be the last, for torchrun ends the others"
