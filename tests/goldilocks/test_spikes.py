import pandas as pd
import pytest

from goldilocks.ablations import summary

LOOKS = (0, 1, 2, 4, 8)


def of(condition, quantity, by_seed, block=-1):
    rows = [(condition, seed, quantity, step, block, value)
            for seed, values in by_seed.items() for step, value in zip(LOOKS, values, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["condition", "seed", "quantity", "step", "block", "value"])


@pytest.fixture
def runs():
    return pd.concat([
        of("bare", "test_loss", {0: [8, 7.9, 7.8, 20, 7.4], 1: [8, 7.9, 7.7, 30, 7.5], 2: [8, 7.9, 99, 25, 7.3]}),
        of("bare", "gradient_norm", {seed: [1, 1, 2, 60, 1] for seed in range(3)}, block=0),
        of("bare", "gradient_norm", {seed: [1, 1, 3, 50, 1] for seed in range(3)}, block=1),
        of("bare", "residual_rms", {seed: [0.1, 0.1, 0.2, 7, 0.4] for seed in range(3)}, block=0),
        of("normed", "test_loss", {0: [8, 7.9, 7.8, 7.7, 7.4], 1: [8, 7.9, 7.8, 7.6, 7.4]}),
    ])  # fmt: skip


def test_the_look_is_found_at_which_most_seeds_spike_with_what_is_large_then(runs):
    found = summary.largest_spike(runs, "bare", ["normed"])
    assert (found["step_before"], found["step"], found["step_after"]) == (2, 4, 8), "seed 2 alone rises at step 2"
    assert (found["lowest_loss"], found["highest_loss"], found["highest_loss_after"]) == (20, 30, 7.5)
    assert (found["gradient_norm_before"], found["gradient_norm"]) == (3, 60), "of the block where it is largest"
    assert (found["residual_rms_before"], found["residual_rms"]) == (0.2, 7)
    assert (found["others"], found["highest_loss_of_others"]) == (1, 7.7)


def test_without_others_nothing_is_said_of_them_and_without_a_rise_nothing_at_all(runs):
    alone = summary.largest_spike(runs, "bare", [])
    assert alone["others"] == 0
    assert not [name for name in alone if name.endswith("of_others")]
    assert summary.largest_spike(runs, "normed", []) is None
    last = runs[(runs["condition"] == "bare") & (runs["step"] <= 4)]
    assert summary.largest_spike(last, "bare", []) is None, "nothing was looked at after the rise"
