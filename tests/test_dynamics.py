import json

import numpy as np
import pandas as pd
import pytest

from stages import dynamics
from stages.common import files, tables


def growth(before, after):
    return dynamics.growth_metrics(np.array(before, float), np.array(after, float))


def test_growth_by_depth_is_found_where_it_is():
    before = np.full((5, 4), 0.02)
    rng = np.random.default_rng(0)
    after = before * (1 + np.array([0.6, 0.4, 0.3, 0.2]) + rng.normal(0, 0.01, (5, 4)))
    found = growth(before, after)
    assert found["growth_of_std"]["value"] == pytest.approx(0.375, abs=0.02)
    assert found["rank_correlation_of_growth_with_depth"]["value"] == pytest.approx(-1)
    assert found["lead_of_block_0_in_growth"]["low"] > 0.1
    assert found["share_of_seeds_where_block_0_grew_most"]["value"] == 1
    assert found["growth_of_std_by_block"]["block_3"] == pytest.approx(0.2, abs=0.02)


def test_growth_without_a_gradient_is_not_called_one():
    rng = np.random.default_rng(1)
    found = growth(np.full((8, 6), 0.02), 0.02 * rng.uniform(1.2, 1.4, (8, 6)))
    correlation = found["rank_correlation_of_growth_with_depth"]
    assert correlation["low"] < 0 < correlation["high"]
    assert found["lead_of_block_0_in_growth"]["low"] < 0


def test_kurtosis_is_that_of_the_parts_not_of_their_mixture():
    key = {"seed": 0, "step": 0, "block": 0}
    parts = [
        key | {"part": p, "std": 1.0, "tail_mass": 0.0, "excess_kurtosis": k}
        for p, k in zip("qkv", (1, 2, 3), strict=True)
    ]
    weights = pd.DataFrame([*parts, key | {"part": "qkv", "std": 1.0, "tail_mass": 0.5, "excess_kurtosis": 9.0}])
    attention = pd.DataFrame([key | dict.fromkeys(dynamics.FROM_ATTENTION, 1.0)])
    losses = pd.DataFrame([{"seed": 0, "step": 0, "split": "train", "loss": 1.0}])
    found = dynamics.tidy(weights, attention, losses).set_index("quantity")["value"]
    assert (found["excess_kurtosis"], found["tail_mass"], found["train_loss"]) == (2, 0.5, 1)


def test_two_blocks_have_no_order_to_correlate():
    assert "rank_correlation_of_growth_with_depth" not in growth([[0.02, 0.02]] * 3, [[0.03, 0.02]] * 3)


def test_a_single_block_has_no_depth():
    assert "lead_of_block_0_in_growth" not in growth([[0.02], [0.02]], [[0.03], [0.04]])


def values(seeds):
    return pd.DataFrame(
        {"quantity": "std", "seed": range(seeds), "step": 0, "block": 0, "value": np.arange(seeds, dtype=float)}
    )


def test_intervals_over_seeds_are_students():
    row = dynamics.over_seeds(values(5)).iloc[0]
    half = 2.7764451052 * np.std(np.arange(5), ddof=1) / np.sqrt(5)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((2, 2 - half, 2 + half))
    assert row["seeds"] == 5


def test_the_interval_of_a_share_ends_at_0_and_1():
    shares = pd.DataFrame({"quantity": "tail_mass", "seed": [0, 1], "step": 0, "block": 0, "value": [0.1, 0.9]})
    row = dynamics.over_seeds(shares).iloc[0]
    assert (row["low"], row["mean"], row["high"]) == (0, 0.5, 1)


def test_one_seed_gives_a_point():
    row = dynamics.over_seeds(values(1)).iloc[0]
    assert row["mean"] == row["low"] == row["high"] == 0


def test_the_initial_checks_are_pooled_over_tensors():
    checks = pd.DataFrame(
        {"claim": ["W1", "W2", "W2"], "measured": [0, 0.01, 0.03], "expected": [0, 0.02, 0.02], "n": [7, 100, 300]}
    )
    found = dynamics.initial_metrics(checks)
    assert found["W1"]["value"] == found["W1"]["high"] == 0
    assert found["W2"]["value"] == pytest.approx(np.sqrt((0.01**2 + 3 * 0.03**2) / 4))
    assert found["W2"]["n"] == 400


def test_seeds_give_other_runs_on_the_same_test_windows(smoke):
    runs = [smoke.folder / "data" / "model5" / f"seed-{seed}" for seed in (0, 1)]
    a, b = (tables.read(run / "losses.parquet", "losses") for run in runs)
    assert (a["step"] == b["step"]).all()
    assert (a["loss"] != b["loss"]).all()
    assert json.loads((runs[0] / "samples.json").read_text()) != json.loads((runs[1] / "samples.json").read_text())


def test_snapshots_hold_the_weights_that_the_tables_describe(smoke):
    run = smoke.folder / "data" / "model5" / "seed-0"
    table = tables.read(run / "weights.parquet", "weights")
    assert sorted(path.name for path in (run / "qkv").iterdir()) == [f"step-{n:06d}.safetensors" for n in (0, 10, 20)]
    for step in (0, 20):
        for name, weight in files.read_tensors(run / "qkv" / f"step-{step:06d}.safetensors").items():
            row = table[
                (table["step"] == step) & (table["block"] == int(name.split(".")[1])) & (table["part"] == "qkv")
            ]
            assert row["std"].item() == pytest.approx(weight.std(), rel=1e-5)
    untouched = table[(table["step"] == 0) & (table["part"] == "qkv")]["std"]
    assert untouched.to_numpy() == pytest.approx(0.02, rel=0.05)


def test_it_looks_at_exactly_the_seeds_asked_for(smoke):
    table = tables.read(smoke.folder / "data" / "dynamics.parquet", "dynamics")
    assert set(table["seeds"]) == {2}
    assert set(table["quantity"]) == {*dynamics.FROM_WEIGHTS, *dynamics.FROM_ATTENTION, "train_loss", "test_loss"}
    losses = tables.read(smoke.folder / "data" / "model5" / "seed-0" / "losses.parquet", "losses")
    assert losses.groupby("split", observed=True).size().to_dict() == {"train": 21, "test": 3}
    metrics = json.loads(smoke.read("reports/metrics/dynamics.json"))
    assert metrics["initialisation"]["W2"]["value"] == pytest.approx(0.02, rel=0.05)
    assert metrics["growth_of_std"]["n"] == 2
