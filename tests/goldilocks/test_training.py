"""The training loop: what it computes, what it shows to its watcher, and how it goes on from a state."""

import math
from types import SimpleNamespace

import pytest
import torch
from test_model5 import fresh, trainer, windows

from goldilocks.core.cli import UserError
from goldilocks.model5 import training


def test_training_learns_and_is_watched_before_and_after_each_update():
    model, seen = fresh(), []

    def note(when):
        return lambda step: seen.append((when, step, torch.equal(weight, initial), weight.grad is not None))

    weight, watcher = model.wte.weight, SimpleNamespace(before=note("before"), after=note("after"))
    initial = weight.detach().clone()
    losses = list(training.train(trainer(model, 1e-2), lambda _: windows(), 0, 30, watcher))
    assert seen[:3] == [("before", 0, True, False), ("after", 0, False, True), ("before", 1, False, False)]
    assert [step for when, step, *_ in seen if when == "before"] == list(range(30))
    assert weight.grad is None
    assert losses[0] == pytest.approx(fresh().loss(windows()).item())
    assert losses[-1] < losses[0] - 1


def test_a_batch_taken_in_parts_gives_the_same_gradient():
    whole, parts = fresh(), fresh()
    losses = [trainer(whole).gradient(windows(6)), trainer(parts, accumulate=3).gradient(windows(6))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("native")
def test_bf16_is_near_fp32_and_moves_weights_kept_in_fp32():
    exact, low = fresh(), fresh()
    losses = []
    for model, precision in ((exact, "fp32"), (low, "bf16")):
        chosen = training.Trainer(training.Objective(model, precision), 1e-2, 0.0)
        losses.append(list(training.train(chosen, lambda _: windows(), 0, 10)))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    assert {parameter.dtype for parameter in low.parameters()} == {torch.float32}


def test_state_and_restore_go_on_to_the_same_bits():
    def train(chosen, first, last):
        return list(training.train(chosen, lambda step: windows(seed=step), first, last))

    through = trainer(fresh())
    expected = train(through, 0, 8)
    half = trainer(fresh())
    train(half, 0, 5)
    saved = {name: tensor.clone() for name, tensor in half.state().items()}
    resumed = trainer(fresh(seed=9))
    resumed.restore(saved, 5)
    assert train(resumed, 5, 8) == expected[5:]
    for name, tensor in through.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name
    del saved["mean.wte.weight"]
    with pytest.raises(KeyError, match=r"mean\.wte\.weight"):
        trainer(fresh()).restore(saved, 5)


def test_updates_are_those_of_torchs_adamw_to_the_bit():
    ours, theirs = fresh(), fresh()
    chosen = training.Trainer(training.Objective(ours), 1e-2, 0.1)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.1, fused=True)
    list(training.train(chosen, lambda step: windows(seed=step), 0, 3))
    for step in range(3):
        theirs.loss(windows(seed=step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_stops_training():
    model = fresh()
    with torch.no_grad():
        model.ln_f.weight[0] = torch.inf
    for last, before in ((math.nan, "the first one"), (5.4321, "the last finite one was 5.432")):
        told = rf"the loss became nan at step 4 \({before}\); .* lower train\.learning_rate"
        with pytest.raises(UserError, match=told):
            list(training.train(trainer(model), lambda _: windows(), 4, 7, last=last))
