import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from goldilocks.config import goldilocks
from goldilocks.core import tables
from goldilocks.model5.attention_stats import EDGES, SCALINGS
from stages import logits


def histogram(values):
    edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    counts, _ = np.histogram(values, edges)
    return pd.DataFrame({"right": edges[1:], "count": counts})


def test_the_distance_from_a_normal_distribution():
    assert logits.gaussian_distance(histogram(np.random.default_rng(0).normal(size=200_000))) < 0.005
    assert logits.gaussian_distance(histogram(np.zeros(100))) == pytest.approx(0.5)
    heavy = np.random.default_rng(0).logistic(size=200_000) / np.sqrt(np.pi**2 / 3)
    x = np.linspace(-3, 3, 1001)
    expected = np.abs(expit(x * np.sqrt(np.pi**2 / 3)) - norm.cdf(x)).max()
    assert logits.gaussian_distance(histogram(heavy)) == pytest.approx(expected, abs=0.004)


def run(seed, loss):
    """Tables of one seed: two blocks of two heads, two snapshots; entropy is 0.1 · (block + head), the rest 0.2.

    The model is run in other scalings at the last snapshot only. Of the heads of block 0 one lies in the zone, the
    other above it; of those of block 1, one below it, and one by both.
    """
    keys = [
        {"seed": seed, "step": step, "scaling": scaling, "block": block, "head": head}
        for step in (0, 7) for scaling in SCALINGS for block in (0, 1) for head in (0, 1)
    ]  # fmt: skip
    names = (*logits.ROW_STATISTICS, *logits.LOGIT_QUANTITIES, "centred_cosine")
    zone = {(0, 0): (0.5, 2.0), (0, 1): (0.4, 2.0), (1, 0): (0.5, 1.9), (1, 1): (0.4, 1.9)}
    attention = [
        key
        | dict.fromkeys(names, 0.2)
        | {"normalised_entropy": 0.1 * (key["block"] + key["head"])}
        | dict(zip(("relative_gradient", "discrimination"), zone[key["block"], key["head"]], strict=True))
        for key in keys
    ]
    losses = [{"seed": seed, "step": 7, "scaling": s, "loss": loss[s]} for s in SCALINGS]
    histograms = pd.concat(
        histogram(np.zeros(10)).assign(seed=seed, step=step, block=block) for step in (0, 7) for block in (0, 1)
    )
    return pd.DataFrame(attention), pd.DataFrame(losses), histograms


ZONE = goldilocks.Settings.model_construct()


def tidied():
    runs = [
        run(0, {"scaled": 1.0, "unscaled": 1.5, "scaled_by_d": 1.25}),
        run(1, {"scaled": 2.0, "unscaled": 2.7, "scaled_by_d": 2.0}),
    ]
    thresholds = ZONE.model_copy(update={"least_gradient": 0.5, "least_discrimination": 2.0})
    return logits.tidy(*(pd.concat(parts) for parts in zip(*runs, strict=True)), head_width=25, zone=thresholds)


def of_block(values, **where):
    """The values of one scaling, seed and step, by quantity and block."""
    chosen = np.logical_and.reduce([values[name] == value for name, value in where.items()])
    return values[chosen].set_index(["quantity", "block"])["value"]


def test_heads_are_averaged_and_lie_in_the_zone_below_it_or_above_it_and_alignment_is_the_cosine_times_root_d():
    values = tidied()
    found = of_block(values, scaling="unscaled", seed=1, step=7)
    assert found["normalised_entropy", 0] == pytest.approx(0.05)
    assert found["normalised_entropy", 1] == pytest.approx(0.15)
    assert found["centred_alignment", 0] == pytest.approx(1.0)
    assert found["own_cosine", 0] == pytest.approx(0.2)
    assert found["loss", -1] == 2.7
    assert set(values[values["quantity"] == "gaussian_distance"]["scaling"]) == {"scaled"}
    found = of_block(values, scaling="scaled", seed=0, step=0)
    assert [[found[f"{where}_zone", b] for where in ("inside", "below", "above")] for b in (0, 1)] == [
        [0.5, 0, 0.5], [0, 1, 0]
    ], "a softmax that is even is not also called saturated"  # fmt: skip


def test_the_snapshot_at_which_most_heads_lie_in_the_zone_is_found():
    values = pd.DataFrame(
        [("scaled", seed, step, share) for step, shares in ((0, (0.0, 0.2)), (4, (0.9, 0.7)), (9, (1.0, 0.5)))
         for seed, share in enumerate(shares)] + [("unscaled", 0, 0, 1.0)],
        columns=["scaling", "seed", "step", "value"],
    ).assign(quantity="inside_zone")  # fmt: skip
    found = logits.most_inside(values)
    assert (found["step"], found["inside_zone"]["value"]) == (4, pytest.approx(0.8))


def test_estimates_are_over_seeds_and_costs_of_pairs_of_one_seed():
    found = logits.estimates(tidied(), 7)["scaled"]
    assert found["normalised_entropy"] == pytest.approx({"value": 0.1, "low": 0.1, "high": 0.1, "n": 2})
    assert found["loss"]["value"] == 1.5
    assert found["gaussian_distance"]["value"] == pytest.approx(0.5)
    costs = logits.costs(tidied(), 7)
    assert costs.keys() == {"unscaled", "scaled_by_d"}
    assert costs["unscaled"]["value"] == pytest.approx(0.6)
    assert sum(costs["unscaled"]["by_seed"].values()) / 2 == pytest.approx(0.6)
    assert list(costs["unscaled"]["by_seed"]) == ["seed_0", "seed_1"]
    assert costs["unscaled"]["high"] - 0.6 == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert costs["scaled_by_d"]["value"] == pytest.approx(0.125)


def test_in_the_pipeline(smoke):
    table = tables.read(smoke.folder / "data" / "logits.parquet", "logits")
    assert set(table["quantity"]) == {
        *logits.ROW_STATISTICS, *logits.LOGIT_QUANTITIES, *logits.ZONE_SHARES, "gaussian_distance", "loss"
    }  # fmt: skip
    assert set(table["scaling"]) == set(SCALINGS)
    assert set(table["seeds"]) == {2}
    found = json.loads(smoke.read("reports/metrics/logits.json"))
    start = found["first"]["scaled"]
    assert start["centred_alignment"]["value"] == pytest.approx(1, abs=0.1), "q and k are independent before training"
    assert start["normalised_entropy"]["value"] > 0.99
    assert start["below_zone"]["value"] == 1
    inference = tables.read(smoke.folder / "data" / "model5" / "seed-0" / "inference.parquet", "inference")
    assert inference["step"].tolist() == [20] * 3, "at the last snapshot only"
    assert inference["scaling"].astype(str).tolist() == list(SCALINGS)
    assert inference["loss"].nunique() == 3
