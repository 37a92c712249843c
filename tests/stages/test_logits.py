import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm
from test_dynamics import drawn

from goldilocks.config import goldilocks
from goldilocks.core import tables
from goldilocks.model5.attention_stats import EDGES, SCALINGS
from goldilocks.stats.intervals import mean_interval
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


def tidied(gradients=(1.5,), discriminations=(1.5,)):
    """Tables of two seeds, blocks, heads and snapshots, and what is made of them; other scalings' loss is at the last.

    Args:
        gradients, discriminations: of the heads of each block, in turn; the zone begins at 1.5 of both.
    """
    names = (*logits.ROW_STATISTICS, *logits.LOGIT_QUANTITIES, "centred_cosine")
    attention = drawn(names, seed=(0, 1), step=(0, 7), scaling=SCALINGS, block=(0, 1), head=(0, 1))
    attention["relative_gradient"] = np.resize(gradients, len(attention))
    attention["discrimination"] = np.resize(discriminations, len(attention))
    losses = pd.DataFrame({"seed": [0, 0, 0, 1, 1, 1], "step": 7, "scaling": [*SCALINGS, *SCALINGS],
                           "loss": [1.0, 1.5, 1.25, 2.0, 2.7, 2.0]})  # fmt: skip
    keys = pd.DataFrame(product((0, 1), (0, 7), (0, 1)), columns=["seed", "step", "block"])
    zone = goldilocks.Settings.model_construct(least_gradient=1.5, least_discrimination=1.5)
    return attention, logits.tidy(attention, losses, keys.merge(histogram(np.zeros(10)), "cross"), 25, zone)


def test_heads_are_averaged_and_lie_in_the_zone_below_it_or_above_it_and_alignment_is_the_cosine_times_root_d():
    attention, values = tidied((1.5, 1.4, 1.5, 1.4), (1.5, 1.5, 1.4, 1.4))
    found = values.set_index(["quantity", *logits.KEY])["value"]
    means = attention.groupby(logits.KEY, observed=True).mean()
    for name in (*logits.ROW_STATISTICS, "logit_std", "own_cosine"):
        np.testing.assert_allclose(found[name].sort_index(), means[name].sort_index())
    np.testing.assert_allclose(found["centred_alignment"].sort_index(), 5 * means["centred_cosine"].sort_index())
    assert found["loss", "unscaled", 1, 7, -1] == 2.7
    assert set(values[values["quantity"] == "gaussian_distance"]["scaling"]) == {"scaled"}
    sides = [[found[f"{where}_zone", "scaled", 0, 0, b] for where in ("inside", "below", "above")] for b in (0, 1)]
    assert sides == [[0.5, 0, 0.5], [0, 1, 0]], "a softmax that is even is not also called saturated"


def test_the_snapshot_at_which_most_heads_lie_in_the_zone_is_found():
    values = pd.DataFrame(
        [("scaled", seed, step, share) for step, shares in ((0, (0.0, 0.2)), (4, (0.9, 0.7)), (9, (1.0, 0.5)))
         for seed, share in enumerate(shares)] + [("unscaled", 0, 0, 1.0)],
        columns=["scaling", "seed", "step", "value"],
    ).assign(quantity="inside_zone")  # fmt: skip
    found = logits.most_inside(values)
    assert (found["step"], found["inside_zone"]["value"]) == (4, pytest.approx(0.8))


def test_estimates_are_over_seeds_and_costs_of_pairs_of_one_seed():
    attention, values = tidied()
    found = logits.estimates(values, 7)["scaled"]
    of_seeds = attention.query("step == 7 and scaling == 'scaled'").groupby("seed")["normalised_entropy"].mean()
    assert found["normalised_entropy"] == pytest.approx(mean_interval(of_seeds).as_metrics())
    assert found["loss"]["value"] == 1.5
    assert found["gaussian_distance"]["value"] == pytest.approx(0.5)
    costs = logits.costs(values, 7)
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
