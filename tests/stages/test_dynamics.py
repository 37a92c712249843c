import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from goldilocks.claims import growth
from goldilocks.core import arrays, tables
from goldilocks.stats import seeds
from stages import dynamics


def by_depth(by_block):
    """What growth (seeds, blocks) says of depth."""
    frame = pd.DataFrame(by_block)
    return growth.metrics(frame, growth.depth_statistics(frame, "growth"))


def test_growth_by_depth_is_found_where_it_is_and_not_where_it_is_not():
    rng = np.random.default_rng(0)
    falling = by_depth(np.array([0.6, 0.4, 0.3, 0.2]) + rng.normal(0, 0.01, (5, 4)))
    assert falling["rank_correlation_of_growth_with_depth"]["value"] == pytest.approx(-1)
    assert falling["rank_correlation_of_growth_with_depth_after_block_0"]["value"] == pytest.approx(-1)
    assert falling["lead_of_block_0_in_growth"]["low"] > 0.1
    assert falling["share_of_seeds_where_block_0_grew_most"]["value"] == 1
    only_block_0_leads = by_depth([[1.0, 0.1, 0.2, 0.3]] * 3)
    assert only_block_0_leads["rank_correlation_of_growth_with_depth_after_block_0"]["value"] == pytest.approx(1)
    assert only_block_0_leads["lead_of_block_0_in_growth"]["value"] == pytest.approx(0.7)
    one_of_two = by_depth([[0.2, 0.1, 0.3], [0.3, 0.1, 0.2]])
    assert one_of_two["share_of_seeds_where_block_0_grew_most"]["value"] == 0.5
    chance = by_depth(rng.uniform(0.2, 0.4, (8, 6)))
    correlation = chance["rank_correlation_of_growth_with_depth"]
    assert correlation["low"] < 0 < correlation["high"]
    assert chance["lead_of_block_0_in_growth"]["low"] < 0
    assert by_depth(np.ones((3, 2))).keys() == {"lead_of_block_0_in_growth", "share_of_seeds_where_block_0_grew_most"}
    assert by_depth(np.ones((3, 1))) == {}
    assert by_depth(np.ones((3, 3)))["rank_correlation_of_growth_with_depth"]["value"] == 0, "no order"


def test_page_finds_a_trend_that_falls_with_depth():
    falling = pd.DataFrame([[0.6, 0.4, 0.3, 0.2]] * 5)
    p = growth.falling_trend_p(falling)
    assert p["page_p_of_growth"] == pytest.approx(math.factorial(4) ** -5), "one order of 24, in five seeds"
    assert p["page_p_of_growth_after_block_0"] == pytest.approx(math.factorial(3) ** -5)
    rising = growth.falling_trend_p(falling.iloc[:, ::-1])
    assert rising["page_p_of_growth"] == pytest.approx(1)
    assert growth.falling_trend_p(falling[:1]) == {}


SPLITS = {"train": 21, "test": 3, "test_without_attention": 3, "unigram": 1, "bigram": 1}  # rows, in a smoke run
QUANTITIES = {
    *growth.MERGED, *growth.MEAN_OVER_PARTS, *growth.BY_PART, *dynamics.PER_UPDATE, *dynamics.MEAN_OVER_HEADS,
    *dynamics.EXTREME_OF_HEADS,
}  # fmt: skip


def drawn(columns, **keys):
    """A table of random values for every combination of the keys."""
    index = pd.MultiIndex.from_product(keys.values(), names=list(keys))
    values = np.random.default_rng(len(index)).uniform(1, 2, (len(index), len(columns)))
    return pd.DataFrame(values, index, list(columns)).reset_index()


def test_each_quantity_is_of_the_matrix_that_it_should_be_of_and_changes_from_the_first_to_the_last_snapshot():
    at = {"seed": (0, 1), "step": (0, 1, 10), "block": (0, 1, 2)}
    statistics = (*growth.MERGED, "excess_kurtosis", "q01", "q25", "q75", "q99")
    weights = drawn(statistics, **at, part=("q", "k", "v", "qkv"), head=(-1, 0, 1))
    updates = drawn(dynamics.PER_UPDATE, **at, part=("q", "qkv"), head=(-1, 0))
    attention = drawn((*dynamics.MEAN_OVER_HEADS, "largest_logit"), **at, scaling=("scaled", "unscaled"), head=(0, 1))
    losses = drawn(["loss"], seed=(0, 1), step=(0, 1, 10), split=["train"])
    values = dynamics.tidy(weights, updates.query("part == 'q' or head == -1"), attention, losses)

    def of(table, name, where):
        return table.query(where)[name].to_numpy().reshape(2, 3, 3)  # seeds, steps, blocks

    whole = {part: {name: of(weights, name, f"part == '{part}' and head == -1") for name in statistics}
             for part in ("q", "k", "v", "qkv")}  # fmt: skip
    heads = {name: np.stack([of(attention, name, f"scaling == 'scaled' and head == {head}") for head in (0, 1)])
             for name in (*dynamics.MEAN_OVER_HEADS, "largest_logit")}  # fmt: skip
    parts = [whole[part] for part in "qkv"]
    ratios = [(x["q99"] - x["q01"]) / (x["q75"] - x["q25"]) for x in parts]
    expected = {
        **{name: whole["qkv"][name] for name in growth.MERGED},
        **{name: of(updates, name, "part == 'qkv' and head == -1") for name in dynamics.PER_UPDATE},
        **{name: heads[name].mean(0) for name in dynamics.MEAN_OVER_HEADS},
        "excess_kurtosis": np.mean([x["excess_kurtosis"] for x in parts], 0), "quantile_ratio": np.mean(ratios, 0),
        "std_q": whole["q"]["std"], "std_k": whole["k"]["std"], "std_v": whole["v"]["std"],
        "lowest_head_entropy": heads["normalised_entropy"].min(0), "largest_logit": heads["largest_logit"].max(0),
    }  # fmt: skip
    assert set(values["quantity"]) == {*expected, "train_loss"} == {*QUANTITIES, "train_loss"}
    for name, wanted in expected.items():
        found = values[values["quantity"] == name].sort_values(growth.KEY)["value"]
        np.testing.assert_allclose(found, wanted.ravel(), err_msg=name)

    statistics = growth.seed_statistics(values, 10)
    found, by_seed = dynamics.growth_metrics(values, 10, statistics), growth.by_name(statistics)
    first, last = ({name: x[:, i] for name, x in expected.items()} for i in (0, -1))  # (seeds, blocks)
    grown = {name: last[name] / first[name] - 1 for name in ("std", "spectral_norm", *growth.BY_PART)}
    means = {f"change_of_{name}": (last[name] - first[name]).mean() for name in growth.CHANGES}
    means |= {
        "growth_of_std": grown["std"].mean(), "growth_of_spectral_norm": grown["spectral_norm"].mean(),
        "lead_of_block_0_in_spectral_growth": np.mean([x[0] - max(x[1:]) for x in grown["spectral_norm"]]),
        "rank_correlation_of_spectral_growth_with_depth": np.mean(
            [spearmanr(range(3), x).statistic for x in grown["spectral_norm"]]),
        "final_cosine_to_initial": last["cosine_to_initial"].mean(),
    }  # fmt: skip
    assert {name: found[name]["value"] for name in means} == pytest.approx(means)
    assert all(entry["n"] == 2 for entry in found.values() if isinstance(entry, dict) and "n" in entry)
    assert list(found["growth_of_std_by_block"].values()) == pytest.approx(grown["std"].mean(0).tolist())
    assert found["growth_of_std_by_part"] == pytest.approx({part: grown[f"std_{part}"].mean() for part in "qkv"})
    assert list(by_seed["growth_of_std"].values()) == pytest.approx(grown["std"].mean(1).tolist())


def test_early_is_the_most_extreme_early_snapshot_of_each_seed():
    values = pd.DataFrame(
        [
            {"quantity": quantity, "seed": seed, "step": step, "block": block, "value": scale * (step + block + seed)}
            for quantity, scale in (("normalised_entropy", 1), ("lowest_head_entropy", 0.5), ("largest_logit", 2))
            for seed in (0, 1) for step in (0, 1, 2, 50) for block in (0, 1)
        ]
    )  # fmt: skip
    found = dynamics.early_metrics(values, [1, 2])
    assert found["lowest_early_attention_entropy"]["value"] == pytest.approx((1 + 2) / 2)
    assert found["lowest_early_head_entropy"]["value"] == pytest.approx(0.5 * (1 + 2) / 2)
    assert found["largest_early_logit"]["value"] == pytest.approx(2 * (3 + 4) / 2)
    assert dynamics.early_metrics(values, []) == {}


@pytest.mark.parametrize(
    ("quantity", "values", "expected"),
    [
        ("std", range(5), (2 - 1.9632432, 2, 2 + 1.9632432)),  # t of 4 degrees of freedom, 2.7764, times √(2.5/5)
        ("std", [0], (0, 0, 0)),
        ("std_q", [0.8, 1.0], (0.9 - 1.27062, 0.9, 0.9 + 1.27062)),
        ("tail_mass", [0.1, 0.9], (0, 0.5, 1)),
        ("cosine_to_initial", [0.8, 1.0], (0.9 - 1.27062, 0.9, 1)),
        ("spectral_norm", [0.8, 1.0], (0, 0.9, 0.9 + 1.27062)),
    ],
)
def test_intervals_over_seeds_are_students_and_end_where_the_quantity_does(quantity, values, expected):
    table = pd.DataFrame({"quantity": quantity, "seed": range(len(values)), "step": 0, "block": 0, "value": values})
    (row,) = seeds.over_seeds(table, ["quantity", "step", "block"], dynamics.BOUNDS).itertuples()
    assert (row.low, row.mean, row.high) == pytest.approx(expected, abs=1e-5)
    assert row.seeds == len(values)


def test_the_initial_checks_are_pooled_over_tensors():
    checks = pd.DataFrame(
        {"claim": ["W1", "W2", "W2"], "measured": [0, 0.01, 0.03], "expected": [0, 0.02, 0.02], "n": [7, 100, 300]}
    )
    found = dynamics.initial_metrics(checks)
    assert found["W1"]["value"] == found["W1"]["high"] == 0
    assert found["W2"]["value"] == pytest.approx(np.sqrt((0.01**2 + 3 * 0.03**2) / 4))
    assert found["W2"]["n"] == 400


def test_what_deleting_attention_costs_and_counting_reaches_at_the_last_look():
    rows = [
        (seed, step, split, loss)
        for seed, cost in ((0, 0.5), (1, 0.3))
        for step, split, loss in (
            (0, "test", 8.0), (0, "test_without_attention", 8.0), (0, "unigram", 7.0), (0, "bigram", 6.5),
            (0, "train", 8.0), (5, "train", 1.0), (5, "test", 6.0 + seed), (6, "train", 0.5),
            (5, "test_without_attention", 6.0 + seed + cost),
        )
    ]  # fmt: skip
    found = dynamics.loss_metrics(pd.DataFrame(rows, columns=["seed", "step", "split", "loss"]))
    assert found["cost_of_deleting_attention"]["value"] == pytest.approx(0.4)
    assert found["cost_of_deleting_attention"]["n"] == 2
    assert found["gain_on_unigrams"]["value"] == pytest.approx(0.5)
    assert (found["loss_of_unigrams"], found["loss_of_bigrams"]) == (7, 6.5)


def test_seeds_give_other_runs_on_the_same_test_windows(smoke):
    runs = [smoke.folder / "data" / "model5" / f"seed-{seed}" for seed in (0, 1)]
    a, b = (tables.read(run / "losses.parquet", "losses") for run in runs)
    assert (a["step"] == b["step"]).all()
    counts = a["split"].isin(["unigram", "bigram"])
    assert ((a["loss"] == b["loss"]) == counts).all(), "what counting reaches is the same for every seed"
    assert json.loads((runs[0] / "samples.json").read_text()) != json.loads((runs[1] / "samples.json").read_text())
    assert a.groupby("split", observed=True).size().to_dict() == SPLITS
    table = tables.read(smoke.folder / "data" / "dynamics.parquet", "dynamics")
    assert set(table["seeds"]) == {2}
    assert set(table["quantity"]) == QUANTITIES | {f"{split}_loss" for split in SPLITS}
    metrics = json.loads(smoke.read("reports/metrics/dynamics.json"))
    assert metrics["initialisation"]["W2"]["value"] == pytest.approx(0.02, rel=0.05)
    assert metrics["growth_of_std"]["n"] == 2
    assert metrics["initial_checks_passed"] is True


def test_snapshots_hold_the_weights_and_show_the_updates_that_the_tables_describe(smoke):
    run = smoke.folder / "data" / "model5" / "seed-0"
    updates, weights = (tables.read(run / f"{name}.parquet", name) for name in ("updates", "weights"))
    snapshots = {int(path.stem.removeprefix("step-")): arrays.read(path) for path in sorted((run / "qkv").iterdir())}
    assert list(snapshots) == [0, 1, 2, 4, 8, 10, 20]
    for step in (0, 20):
        for name, weight in snapshots[step].items():
            of_block = weights[(weights["step"] == step) & (weights["block"] == int(name.split(".")[1]))]
            assert of_block[of_block["part"] == "qkv"]["std"].item() == pytest.approx(weight.std(), rel=1e-5)
            head = of_block[(of_block["part"] == "k") & (of_block["head"] == 1)]["spectral_norm"].item()
            assert head == pytest.approx(np.linalg.norm(weight[32 + 16 : 64], 2), rel=1e-5)
    untouched = weights[(weights["step"] == 0) & (weights["part"] == "qkv")]["std"]
    assert untouched.to_numpy() == pytest.approx(0.02, rel=0.05)
    key = ["step", "block", "part", "head"]
    assert updates[key].equals(weights[key])
    assert (updates[["gradient_norm", "update_ratio"]] > 0).all(axis=None)
    for block, (name, before) in enumerate(snapshots[1].items()):
        row = updates[(updates["step"] == 1) & (updates["block"] == block) & (updates["part"] == "qkv")]
        expected = np.linalg.norm(snapshots[2][name] - before) / np.linalg.norm(before)
        assert row["update_ratio"].item() == pytest.approx(expected, rel=1e-5)
