import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from closure import ROOT

from benchmarks import child, measuring, peers, sizes, table
from stages.common import arithmetic
from stages.common.cli import UserError
from stages.model5 import initialisation
from stages.model5.model import Model5, Shape

TINY = sizes.Size(
    "tiny", blocks=2, width=32, heads=4, context_length=16, batch_size=4, vocabulary=300, steps=2, rounds=2, warm_up=1,
    gigabytes=0.1,
)  # fmt: skip


def model5(size=TINY):
    model = Model5(Shape(size.vocabulary, size.context_length, size.width, size.heads, size.blocks))
    initialisation.initialise(model, 0.5, 0)
    return model


def windows(size=TINY):
    shape = size.batch_size, size.context_length + 1
    return torch.randint(0, size.vocabulary, shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def in_process(monkeypatch, native):  # noqa: ARG001
    """Jobs are done here, so that nothing is imported anew."""

    class Here:
        def __init__(self, job):
            self.job = job

        def ready(self):
            pass

        def go(self):
            pass

        def result(self):
            return json.loads(json.dumps(child.do(json.loads(json.dumps(self.job)))))

    @contextmanager
    def here(_, **job):
        yield Here(job)

    threads = torch.get_num_threads()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(measuring, "child", here)
    monkeypatch.setattr(child, "wait", lambda: None)
    monkeypatch.setattr(arithmetic, "restart_native", lambda: None)
    yield
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_the_exercise_has_our_loss_and_gradients():
    ours, exercise = model5(), peers.Exercise(TINY)
    weights = {name.replace(".mlp.", "."): tensor for name, tensor in ours.state_dict().items()}
    exercise.load_state_dict(weights)
    theirs = peers.exercise_loss(exercise, windows())
    loss = ours.loss(windows())
    assert theirs.item() == pytest.approx(loss.item(), rel=1e-5)
    theirs.backward()
    loss.backward()
    mine, peer = ours.blocks[1].attn.qkv.weight.grad, exercise.blocks[1].attn.qkv.weight.grad
    torch.testing.assert_close(mine, peer, rtol=1e-3, atol=1e-6)
    tied = exercise.wte.weight.grad + exercise.head.weight.grad
    torch.testing.assert_close(ours.wte.weight.grad, tied, rtol=1e-3, atol=1e-6)


def test_the_exercise_updates_one_tensor_with_two_gradients_and_two_adam_states():
    model = peers.Exercise(TINY)
    optimizer = peers.optimizer(model)
    peers.exercise_loss(model, windows()).backward()
    optimizer.step()
    wte, head = model.wte.weight, model.head.weight
    assert wte is not head
    assert wte.data_ptr() == head.data_ptr()
    assert not torch.equal(wte.grad, head.grad)
    assert not torch.equal(optimizer.state[wte]["exp_avg"], optimizer.state[head]["exp_avg"])
    assert optimizer.param_groups[0]["fused"] is None


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("variant", measuring.VARIANTS)
def test_every_variant_learns(variant):
    torch.manual_seed(0)
    step = child.made(variant, TINY)
    batch = windows()
    losses = [step(batch) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.05


def test_parameters_are_counted_without_the_second_head():
    assert sum(parameter.numel() for parameter in model5().parameters()) == TINY.parameters
    assert sizes.ARTICLES.parameters == 123_849_984


@pytest.mark.usefixtures("in_process")
def test_the_table_holds_every_row():
    measured = measuring.Measuring(measuring.Plan(threads=2, side=64))
    measured.precisions = ["portable", "fp32", "bf16"]
    report = json.loads(json.dumps(measured.everything([TINY])))
    printed = "\n".join(table.lines(report))
    for name in measuring.VARIANTS:
        (row,) = (line for line in printed.splitlines() if line.startswith(f"{name} ") and "times as" not in line)
        assert row.endswith("GB")
    for ours, peer in measuring.COMPARED:
        assert sum(line.startswith(f"{ours} is ") and peer in line for line in printed.splitlines()) == 1
    for line in (
        "load average: ",
        "products of 64 x 64 matrices, bf16: ",
        "two trainings at once: ",
        "watching, portable: ",
    ):
        assert sum(found.startswith(line) for found in printed.splitlines()) == 1, line
    assert report["sizes"][0]["rows"][0]["steps"] == TINY.steps


@pytest.mark.usefixtures("in_process")
def test_bf16_is_skipped_with_a_reason_where_there_is_none():
    measured = measuring.Measuring(measuring.Plan(threads=2, only=("ours-fp32", "ours-bf16"), side=64))
    measured.precisions = ["fp32"]
    printed = "\n".join(table.lines(measured.everything([TINY])))
    assert f"skipped: {measuring.NO_BF16}" in printed
    assert "times as fast" not in printed


def test_processes_of_their_own_start_together_and_keep_our_settings_to_us():
    measured = measuring.Measuring(measuring.Plan(threads=1))
    first, second = measured.train(["exercise-fp32", "ours-fp32"], TINY, steps=3)
    assert not first["ours"]
    assert second["ours"]
    assert len(first["seconds"]) == 3
    assert first["peak"] > 2**27


def test_a_process_that_fails_is_told(capfd):
    with (
        measuring.child("tiny, ours", kind="train") as process,
        pytest.raises(UserError, match=r"tiny, ours: .* code 1"),
    ):
        process.ready()
    assert "KeyError: 'variant'" in capfd.readouterr().err


def test_short_memory_is_told():
    with pytest.raises(UserError, match="size huge: needs about 100000 GB of memory"):
        measuring.check_memory(TINY._replace(name="huge", gigabytes=1e5))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--steps", "0"], "0: at least 5 make a median"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--threads", "0"], "must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, problem):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert problem in done.stderr


def test_steps_are_shared_out():
    assert measuring.shares(5, 2) == [3, 2]
    assert measuring.shares(1, 4) == [1]
