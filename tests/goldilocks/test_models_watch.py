"""A model watched while it trains: what is written, and that the training does not notice."""

import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ids, tiny
from closure import ROOT
from conftest import Project, environment
from test_model5 import stirred

import goldilocks as g
from goldilocks.core.cli import UserError
from goldilocks.model5.model import Model5, Shape
from goldilocks.models import parquet
from goldilocks.models import watch as watched


def gpt2():
    """A tiny model with dropout, whose training draws random numbers."""
    return tiny("gpt2", {"resid_pdrop": 0.5, "attn_pdrop": 0.5}).train()


def loss_of(model, tokens):
    if isinstance(model, Model5):
        return model.loss(tokens)
    return model(input_ids=tokens).last_hidden_state.square().mean()


def train(model, steps, watch=None, seed=5):
    """Some steps on random tokens; returns the model's last bits and the random generator's state."""
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(steps):
        loss_of(model, torch.randint(3, 40, (4, 9))).backward()
        optimiser.step()
        optimiser.zero_grad()
        if watch:
            watch.step()
    return [parameter.detach().clone() for parameter in model.parameters()], torch.get_rng_state()


@pytest.mark.parametrize("make", [gpt2, stirred], ids=["transformers", "model 5"])
def test_a_training_ends_in_the_same_bits_with_and_without(make, tmp_path):
    alone, state = train(make(), 5)
    model = make()
    probe = None if make is gpt2 else torch.randint(3, 40, (4, 9))
    parameters, after = train(model, 5, g.Watch(model, 2, tmp_path, probe))
    assert all(torch.equal(a, b) for a, b in zip(alone, parameters, strict=True))
    assert torch.equal(state, after)
    assert model.training
    assert pd.read_parquet(tmp_path / "weights")["step"].unique().tolist() == [0, 2, 4]
    assert pd.read_parquet(tmp_path / "attention")["step"].unique().tolist() == ([2, 4] if probe is None else [0, 2, 4])


def test_it_writes_what_the_checkpoints_would_tell(tmp_path):
    model = gpt2()
    model.save_pretrained(tmp_path / "checkpoint-0")
    watch = g.Watch(model, 3, tmp_path / "watch", ids())
    train(model, 3, watch)
    model.save_pretrained(tmp_path / "checkpoint-3")
    of_files = g.weights([tmp_path / "checkpoint-0", tmp_path / "checkpoint-3"]).drop(columns="checkpoint")
    found = pd.read_parquet(tmp_path / "watch" / "weights")[list(of_files)]
    pd.testing.assert_frame_equal(found, of_files, check_dtype=False)
    heads = pd.read_parquet(tmp_path / "watch" / "attention").query("step == 3").drop(columns="step")
    expected = g.attention(model, None, ids())
    pd.testing.assert_frame_equal(heads.reset_index(drop=True), expected[list(heads)], check_dtype=False)


def test_a_training_that_goes_on_is_compared_with_its_beginning(tmp_path):
    model = gpt2()
    train(model, 2, g.Watch(model, 2, tmp_path, ids()))
    train(model, 2, g.Watch(model, 2, tmp_path, ids(), start=2))
    frame = pd.read_parquet(tmp_path / "weights")
    assert frame["step"].unique().tolist() == [0, 2, 4]
    cosine = frame[(frame["part"] == "qkv")].groupby("step")["cosine_to_initial"].mean()
    assert cosine[0] == pytest.approx(1)
    assert 1 > cosine[2] > cosine[4]


def test_a_head_that_leaves_the_zone_is_named(tmp_path, capsys):
    model = stirred()
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight *= 3
    watch = g.Watch(model, 1, tmp_path, torch.randint(3, 40, (4, 12)))
    inside = [key for key, zone in watch.zones.items() if zone == "inside"]
    assert inside, "or the test shows nothing"
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.weight[: model.shape.width].zero_()  # all keys alike
            block.attn.qkv.bias[: model.shape.width].zero_()
    watch.step()
    told = capsys.readouterr().err
    assert told.startswith("goldilocks: step 1: left the zone: block")
    assert told.count(" flat") == min(len(inside), 3)
    watch.step()
    assert capsys.readouterr().err == "", "told once"


def test_another_trainings_tables_are_not_mixed_with(tmp_path):
    model = gpt2()
    train(model, 3, g.Watch(model, 1, tmp_path, ids()))
    with pytest.raises(UserError, match="holds a training's tables; name another folder, or say with start="):
        g.Watch(model, 1, tmp_path, ids())
    g.Watch(model, 1, tmp_path, ids(), start=1)
    for table in ("weights", "attention"):
        assert pd.read_parquet(tmp_path / table)["step"].unique().tolist() == [0, 1]
    with pytest.raises(UserError, match="of another model"):
        g.Watch(stirred(), 1, tmp_path, start=1)


def train_together(rank, folder, watched):
    """Train as one of two processes, on other tokens than the other one."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(gpt2())
    parameters, _ = train(model, 3, g.Watch(model, 1, folder / str(rank)) if watched else None, seed=rank)
    torch.save(parameters, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_of_processes_that_train_together_the_first_one_writes_and_all_end_in_the_same_bits(tmp_path):
    ends = []
    for kind in ("watched", "alone"):
        (folder := tmp_path / kind).mkdir()
        torch.multiprocessing.spawn(train_together, (folder, kind == "watched"), 2)
        ends += [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for parameters in zip(*ends, strict=True):
        assert all(torch.equal(parameters[0], other) for other in parameters[1:])
    assert pd.read_parquet(tmp_path / "watched" / "0" / "attention")["step"].unique().tolist() == [1, 2, 3]
    assert not (tmp_path / "watched" / "1").exists()


FAILURES = {
    "tokens that it can't read": (
        watched, "attention", RuntimeError("no\nof many lines"), "attention is not looked at any more: no", 4,
    ),
    "a full disk": (
        parquet, "write", OSError(28, "No space left on device"), "[Errno 28] No space left on device; not written", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("module", "name", "error", "said", "looks"), FAILURES.values(), ids=FAILURES)
def test_no_failure_of_a_look_ends_the_training(tmp_path, monkeypatch, capsys, module, name, error, said, looks):
    model = gpt2()
    watch = g.Watch(model, 1, tmp_path)
    monkeypatch.setattr(module, name, mock.Mock(side_effect=error))
    parameters, _ = train(model, 3, watch)
    assert all(torch.equal(*pair) for pair in zip(parameters, train(gpt2(), 3)[0], strict=True))
    assert capsys.readouterr().err.startswith(f"goldilocks: step 1: {said}")
    assert len(list((tmp_path / "weights").iterdir())) == looks


def test_a_training_that_diverges_is_watched_to_its_end(tmp_path):
    model = gpt2()
    watch = g.Watch(model, 1, tmp_path, ids())
    with torch.no_grad():
        model.h[0].attn.c_attn.weight[0, 0] = torch.nan
    watch.step()
    last = pd.read_parquet(tmp_path / "weights").query("step == 1").groupby("block")["std"].count()
    assert last.tolist() == [0, 4 * 3 + 4]
    zones = pd.read_parquet(tmp_path / "attention").query("step == 1")["zone"] == "unknown"
    assert zones.tolist() == [True] + [False] * 3 + [True] * 4, "a head of block 0, and all that comes after"


def test_what_can_not_be_watched_is_told_at_once(tmp_path):
    with pytest.raises(UserError, match="no projections of Q, K and V"):
        g.Watch(torch.nn.Linear(2, 2), 1, tmp_path)
    with pytest.raises(UserError, match="knows 64 tokens, and the text has token 64"):
        g.Watch(gpt2(), 1, tmp_path, torch.tensor([[1, 64]]))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="every 0 steps"):
        g.Watch(gpt2(), 0, tmp_path)


def test_the_callback_looks_when_the_trainer_says_so(tmp_path):
    model = gpt2()
    callback = g.TransformersWatch(every=2, folder=tmp_path, probe=ids())
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    callback.on_train_begin(None, state, None, model=model)
    for step in (1, 2, 3):
        state.global_step = step
        callback.on_step_end(None, state, None, model=model)
    assert pd.read_parquet(tmp_path / "weights")["step"].unique().tolist() == [0, 2]
    done = Project(tmp_path).here("tools.weights", "--from", str(tmp_path))
    assert "2 checkpoints, steps 0 … 2, one training; 2 modules of 4 heads" in done.stdout, done.stderr
    heads = pd.read_parquet(tmp_path / "attention")
    inside = (heads["zone"] == "inside").groupby(heads["step"]).sum()
    assert f"heads in the zone: {inside[0]} of 8 at step 0, {inside[2]} of 8 at step 2" in done.stdout
    assert "γ of the norm before: mean 1 at first" in done.stdout
    other = g.TransformersWatch(folder=tmp_path / "other")
    other.on_train_begin(None, SimpleNamespace(global_step=0, is_world_process_zero=False), None, model=model)
    other.on_step_end(None, state, None, model=model)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_it_takes_at_most_3_percent_of_model_5s_time(tmp_path):
    model = Model5(Shape(4096, 64, 128, 4, 6))
    torch.nn.init.normal_(model.wte.weight, std=0.02)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    watch = g.Watch(model, watched.EVERY, tmp_path, torch.randint(4096, (8, 64)))
    seconds = {"train": [], "watch": []}
    for _ in range(3):
        start = time.process_time()
        for _ in range(10):
            model.loss(torch.randint(4096, (6, 65))).backward()
            optimiser.step()
            optimiser.zero_grad()
        middle = time.process_time()
        watch.look(watched.EVERY)
        seconds["train"].append((middle - start) / 10)
        seconds["watch"].append(time.process_time() - middle)
    assert np.median(seconds["watch"]) <= 0.03 * watched.EVERY * np.median(seconds["train"])


@pytest.mark.parametrize(
    ("names", "large"),
    [
        ("dir(g)", "torch pandas transformers numpy pyarrow"),
        ("g.norms", "torch pandas transformers"),
        pytest.param("g.attention, g.weights, g.Watch", "transformers", marks=pytest.mark.slow),
    ],
)
def test_a_function_imports_large_libraries_only_when_it_is_asked_for(names, large):
    code = f"import sys, goldilocks as g; {names}; print(set('{large}'.split()) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
    assert {"attention", "norms", "weights", "Watch", "TransformersWatch"} <= set(dir(g))
    assert not hasattr(g, "nothing")
