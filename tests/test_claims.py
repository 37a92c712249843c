import copy
import json

import pytest

from stages import claims
from stages.claims import NOT_MEASURED, NOT_REPRODUCED, REPRODUCED

SETTINGS = claims.Settings(about=0.05, overlap=0.02, few=0.1)


def estimate(value, half=0.0, n=5, **more):
    return {"value": value, "low": value - half, "high": value + half, "n": n} | more


def metrics():
    """Metrics of a run in which everything that can be measured reproduces."""
    softmax = {"all": {"jacobian_norm": 0.1, "largest_probability": 0.9}}
    drawn = {
        "share_of_entries_holding_half": estimate(0.02),
        "share_of_negligible_probabilities": estimate(0.6, 0.01),
        "effective_share_of_entries": estimate(0.05),
    }
    return {
        "sweep": {
            "one_pair": {"dimension": 50, "sqrt_dimension": 7.07},
            "all_pairs": {"sigma_Q": estimate(1.0, 0.01), "sigma_K": estimate(1.0, 0.01)},
            "monte_carlo": {
                "sigma_QKt": estimate(7.07, 0.02),
                "sigma_QKt_scaled": estimate(1.0, 0.01),
                "slope": estimate(0.5, 0.002),
                "largest_ratio_error": estimate(0.01, 0.002),
            },
            "single_draws": {"largest_ratio_error": 0.1},
        },
        "softmax": {
            "unscaled": softmax,
            "scaled": softmax,
            "fresh_draws": {
                "unscaled": drawn,
                "scaled": drawn | {"effective_share_of_entries": estimate(0.6, 0.01)},
                "jacobian_norm_ratio": estimate(0.2, 0.05),
            },
            "temperature": {
                "largest_difference_from_power": 1e-15,
                "reduced_chi_square": 1.01,
                "degrees_of_freedom": 2000,
                "reduced_chi_square_at_temperature_1": 500.0,
            },
        },
        "layernorm": {
            "gpt2": {
                "gamma": {"n": 9, "share_in_range": 0.76, "share_below_1": 0.9},
                "beta": {"n": 9, "share_near_zero": 0.98},
            }
        },
        "dynamics": {
            "initialisation": {
                "W1": estimate(0.0, expected=0.0),
                "W2": estimate(0.02, 1e-5, expected=0.02),
                "W3": estimate(0.044, 1e-5, expected=0.0442),
                "W4": estimate(0.02, 1e-5, expected=0.02),
            },
            "growth_of_std": estimate(0.4, 0.1),
            "change_of_excess_kurtosis": estimate(0.4, 0.1),
            "change_of_tail_mass": estimate(0.02, 0.01),
            "rank_correlation_of_growth_with_depth": estimate(-0.8, 0.1),
            "lead_of_block_0_in_growth": estimate(0.2, 0.1),
            "lowest_early_attention_entropy": estimate(0.95, 0.01),
            "growth_of_spectral_norm": estimate(1.234, 0.1),
            "change_of_stable_rank": estimate(-5.678, 0.1),
            "final_cosine_to_initial": estimate(0.789, 0.1),
            "change_of_quantile_ratio": estimate(0.123, 0.1),
            "rank_correlation_of_spectral_growth_with_depth": estimate(-0.456, 0.1),
            "lead_of_block_0_in_spectral_growth": estimate(0.567, 0.1),
            "lowest_early_head_entropy": estimate(0.891, 0.01),
            "largest_early_logit": estimate(0.912, 0.01),
        },
    }


def verdicts(found):
    return {entry["id"]: entry["verdict"] for entry in claims.ledger(found, SETTINGS)}


# claim -> what to put where so that it must fail, all others staying as they are
SPOILT = {
    "S1": {"sweep.all_pairs.sigma_K": estimate(1.04, 0.02)},
    "S2": {"sweep.monte_carlo.sigma_QKt": estimate(7.07, 0.5)},
    "S3": {"sweep.monte_carlo.largest_ratio_error": estimate(0.015, 0.006)},
    "S4": {"sweep.monte_carlo.sigma_QKt_scaled": estimate(7.07, 0.01)},
    "S5": {"softmax.fresh_draws.unscaled.share_of_negligible_probabilities": estimate(0.5, 0.01)},
    "S6": {"softmax.fresh_draws.scaled.effective_share_of_entries": estimate(0.5, 0.01)},
    "S7": {"softmax.fresh_draws.jacobian_norm_ratio": estimate(0.48, 0.05)},
    "S9": {"softmax.temperature.reduced_chi_square_at_temperature_1": 1.0},
    "S10": {"layernorm.gpt2.gamma.share_in_range": 0.248},
    "S11": {"layernorm.gpt2.beta.share_near_zero": 0.5},
    "S12": {"layernorm.gpt2.gamma.share_below_1": 0.4},
    "W1": {"dynamics.initialisation.W1": estimate(1e-9, expected=0.0)},
    "W2": {"dynamics.initialisation.W2": estimate(0.022, 1e-5, expected=0.02)},
    "W3": {"dynamics.initialisation.W3": estimate(0.02, 1e-5, expected=0.0442)},
    "W4": {"dynamics.initialisation.W4": estimate(0.00626, 1e-5, expected=0.02)},
    "W5": {"dynamics.growth_of_std": estimate(0.4, 0.5)},
    "W6": {"dynamics.change_of_tail_mass": estimate(0.02, 0.03)},
    "W7": {"dynamics.rank_correlation_of_growth_with_depth": estimate(-0.3, 0.4)},
    "W8": {"dynamics.lead_of_block_0_in_growth": estimate(0.2, 0.3)},
    "W9": {"dynamics.lowest_early_attention_entropy": estimate(0.52, 0.05)},
}
UNMEASURED = {"S8", "S13", "S14", "S15"}


def put(found, path, value):
    *keys, last = path.split(".")
    for key in keys:
        found = found[key]
    found[last] = value


def test_every_claim_of_the_articles_is_declared_once():
    ids = [claim.id for claim in claims.CLAIMS]
    assert ids == [f"S{i}" for i in range(1, 16)] + [f"W{i}" for i in range(1, 10)]


def test_what_reproduces_is_called_so():
    found = verdicts(metrics())
    assert {name for name, verdict in found.items() if verdict == REPRODUCED} == set(SPOILT)
    assert {name for name, verdict in found.items() if verdict == NOT_MEASURED} == UNMEASURED


@pytest.mark.parametrize("claim", SPOILT)
def test_each_criterion_can_fail_and_fails_alone(claim):
    found = copy.deepcopy(metrics())
    for path, value in SPOILT[claim].items():
        put(found, path, value)
    changed = {name: v for name, v in verdicts(found).items() if v != verdicts(metrics())[name]}
    assert changed == {claim: NOT_REPRODUCED}


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (
            "W5",
            (
                "relative growth of the spectral norm 1.23 [1.13, 1.33]",
                "stable rank changes by -5.68",
                "cosine to the start 0.789",
            ),
        ),
        ("W6", ("tail mass, which widening alone would raise, changes by 0.02 [0.01, 0.03]", "q01", "by 0.123")),
        ("W7", ("spectral norm's growth -0.456",)),
        ("W8", ("spectral norm's growth 0.567",)),
        ("W9", ("single head 0.891", "|logit| of any head 0.912", "no wider start beside it")),
    ],
)
def test_notes_tell_what_else_bears_on_a_claim_and_decide_nothing(claim, told):
    found = metrics()
    entry = next(entry for entry in claims.ledger(found, SETTINGS) if entry["id"] == claim)
    assert all(text in entry["note"] for text in told), entry["note"]
    for name in ("growth_of_spectral_norm", "change_of_stable_rank", "final_cosine_to_initial",
                 "change_of_quantile_ratio", "rank_correlation_of_spectral_growth_with_depth",
                 "lead_of_block_0_in_spectral_growth", "lowest_early_head_entropy", "largest_early_logit"):  # fmt: skip
        found["dynamics"][name] = estimate(0.0, 9.0)
    assert verdicts(found) == verdicts(metrics())
    for name in list(found["dynamics"]):
        if found["dynamics"][name] == estimate(0.0, 9.0):
            del found["dynamics"][name]
    assert verdicts(found) == verdicts(metrics())


def test_without_gpt2_its_claims_are_not_measured_and_carry_the_reference_figure():
    found = metrics()
    found["layernorm"] = {"model5": {}}
    entries = {entry["id"]: entry for entry in claims.ledger(found, SETTINGS)}
    for name in ("S10", "S11", "S12"):
        assert entries[name]["verdict"] == NOT_MEASURED
        assert "reference figure: " in entries[name]["note"]
        assert entries[name]["value"] is None


def test_one_seed_decides_nothing_that_needs_replicates():
    found = metrics()
    for name, entry in found["dynamics"].items():
        if name != "initialisation":
            entry["n"] = 1
    judged = verdicts(found)
    assert {judged[f"W{i}"] for i in range(5, 10)} == {NOT_MEASURED}
    assert {judged[f"W{i}"] for i in range(1, 5)} == {REPRODUCED}


def test_with_the_start_as_the_only_snapshot_nothing_is_said_of_growth():
    found = metrics()
    for name in list(found["dynamics"]):
        if name != "initialisation":
            del found["dynamics"][name]
    judged = verdicts(found)
    assert {judged[f"W{i}"] for i in range(5, 10)} == {NOT_MEASURED}
    assert judged["W9"] == NOT_MEASURED


def test_an_order_needs_three_seeds_and_a_wrong_chi_square_is_refused():
    found = metrics()
    found["dynamics"]["rank_correlation_of_growth_with_depth"]["n"] = 2
    for chi, degrees, verdict in ((1.2, 2000, NOT_REPRODUCED), (0.8, 2000, NOT_REPRODUCED), (1.2, 40, REPRODUCED)):
        found["softmax"]["temperature"] |= {"reduced_chi_square": chi, "degrees_of_freedom": degrees}
        assert verdicts(found)["S9"] == verdict
    assert verdicts(found)["W7"] == NOT_MEASURED


def test_a_single_block_has_no_depth_to_judge():
    found = metrics()
    del found["dynamics"]["lead_of_block_0_in_growth"]
    assert verdicts(found)["W8"] == NOT_MEASURED


def test_in_the_pipeline(smoke):
    counted = json.loads(smoke.read("reports/metrics/claims.json"))
    full = json.loads(smoke.read("data/claims.json"))
    assert sum(counted["count"].values()) == len(full) == 24
    assert {entry["id"]: entry["verdict"] for entry in full} == {
        k: v["verdict"] for k, v in counted.items() if k != "count"
    }
    assert counted["W1"]["verdict"] == REPRODUCED
    assert all(entry["note"] for entry in full if entry["verdict"] == NOT_MEASURED)
