"""What each claim asks for, and what is told beside its verdict."""

import json

import numpy as np
import pandas as pd
import pytest
from measured import DRAWN, INDEPENDENT, MARGINS, SPOILT, entry_of, estimate, metrics, put, verdicts

from goldilocks.claims.criteria import MetricTree
from goldilocks.claims.definitions import CLAIMS
from goldilocks.claims.layernorm_shares import shares
from goldilocks.claims.verdicts import DEPENDS, NOT_MEASURED, NOT_REPRODUCED, REPRODUCED, UNDECIDED, judge_all
from stages import claims

CASES = [
    (claim, path, value, half, verdict)
    for claim, spoilt in SPOILT.items()
    for path, *numbers in spoilt
    for (value, half), verdict in zip((numbers[:2], numbers[2:]), (NOT_REPRODUCED, UNDECIDED), strict=True)
    if value is not None
]


def test_every_claim_of_the_articles_is_declared_once():
    assert [claim.id for claim in CLAIMS] == [f"S{i}" for i in range(1, 16)] + [f"W{i}" for i in range(1, 10)]
    assert list(SPOILT) == [claim.id for claim in CLAIMS]


def test_what_reproduces_is_called_so():
    assert set(verdicts(metrics()).values()) == {REPRODUCED}


@pytest.mark.parametrize(("claim", "path", "value", "half", "verdict"), CASES)
def test_each_requirement_can_fail_and_be_undecided_and_does_so_alone(claim, path, value, half, verdict):
    found = metrics()
    put(found, path, value, half)
    if claim in ("S7", "W7", "W8") and verdict == NOT_REPRODUCED:
        verdict = DEPENDS  # by the other measures it holds
    assert {name: v for name, v in verdicts(found).items() if v != REPRODUCED} == {claim: verdict}


@pytest.mark.parametrize("path", [path for spoilt in SPOILT.values() for path, *_ in spoilt])
def test_what_is_not_there_is_not_measured_and_says_why(path):
    found = metrics()
    *keys, last = path.split(".")
    place = found
    for key in keys:
        place = place[key]
    del place[last]
    missing = {
        entry["id"]: entry for entry in judge_all(CLAIMS, MetricTree(found, MARGINS)) if entry["verdict"] != REPRODUCED
    }
    assert {entry["verdict"] for entry in missing.values()} == {NOT_MEASURED}
    assert len(missing) == (2 if last == "largest_gradient_unscaled" else 1), "S8 asks for it too"
    assert all(entry["note"] and entry["value"] is None for entry in missing.values())


def test_what_holds_by_construction_is_declared_so():
    entries = judge_all(CLAIMS, MetricTree(metrics(), MARGINS))
    assert [entry["id"] for entry in entries if entry["by_construction"]] == ["S1", "S9", "W1", "W2", "W3", "W4"]


REMARKED = {
    "W5": {"dynamics.growth_of_spectral_norm": "spectral norm 0.3333 [",
           "dynamics.change_of_stable_rank": "rank changes by"},
    "W6": {"dynamics.change_of_quantile_ratio": "from 3.45 by 0.3333"},
    "W7": {"dynamics.rank_correlation_of_growth_with_depth_after_block_0": "without block 0 0.3333",
           "dynamics.page_p_of_growth": "falling trend over the same seeds, without a control: p = 0.3333",
           "dynamics.page_p_of_growth_after_block_0": "without block 0 p = 0.3333"},
    "W9": {"dynamics.lowest_early_attention_entropy": "block's heads 0.3333",
           "dynamics.largest_early_logit": "|logit|"},
    "S13": {"ablations.conditions.scaled.gradient_jump": "with LayerNorm it is 0.3333",
            "ablations.without_layernorm.gradient_spread": "without less with: 0.3333"},
    "S14": {"ablations.conditions.scaled.drift": "with LayerNorm it is 0.3333",
            "ablations.conditions.no_layernorm.residual_growth": "without 0.3333"},
    "S15": {"ablations.conditions.no_layernorm.imbalance": "without 0.3333"},
    "S3": {"sweep.single_draws.r_squared": "their R² with √n is 0.3333"},
    "S5": {f"{DRAWN}.unscaled.share_below_a_hundredth_of_it": "below a hundredth of that 0.3333",
           f"{DRAWN}.unscaled.share_below_its_hundredfold": "below its hundredfold 0.3333"},
    "S7": {f"{DRAWN}.unscaled.relative_gradient": "of an even row's: the loss's ‖p - e_t‖ 0.3333",
           f"{DRAWN}.unscaled.relative_trace": "mean p(1 - p) 0.3333",
           f"{DRAWN}.unscaled.relative_jacobian": "attention's ‖J‖ 0.3333",
           f"{DRAWN}.jacobian_norm_ratio": "by rows 0.3333", f"{DRAWN}.jacobian_norm_ratio_over_all": "at once 0.3333"},
    "S8": {f"{INDEPENDENT}.lowest_jacobian_by_root_d": "lowest ‖J‖ at 1/√d, of an even row's 0.3333"},
    "S10": {"references.gamma_in_range": "reference figures: gpt2-xl 0.016"},
    "S12": {"shares_of_others.gamma_below_1": "others: mine 0.3333 [0.2333, 0.4333]"},
}  # fmt: skip


@pytest.mark.parametrize("claim", REMARKED)
def test_remarks_tell_what_else_bears_on_a_claim_and_decide_nothing(claim):
    found = metrics() | {"references": {}, "shares_of_others": {}}
    before = verdicts(found)
    for path in REMARKED[claim]:
        *keys, last = path.split(".")
        place = found
        for key in keys:
            place = place[key]
        special = {"references": {"gpt2-xl": 0.016}, "shares_of_others": {"mine": estimate(1 / 3, 0.1)}}
        place[last] = special.get(keys[0], estimate(1 / 3, 0.1))
    note = entry_of(claim, found)["note"]
    assert all(text in note for text in REMARKED[claim].values()), note
    assert verdicts(found) == before


def test_without_gpt2_its_claims_are_not_measured_and_carry_the_reference_figure():
    found = metrics()
    found["shares"] = {share: {} for share in found["shares"]}
    for name in ("S10", "S11", "S12"):
        entry = entry_of(name, found)
        assert entry["verdict"] == NOT_MEASURED
        assert "reference figure: " in entry["note"]


def layernorm_table(values):
    """A table with a tensor for each list of values: of model m, γ."""
    rows = [
        {"model": "m", "kind": "gamma", "block": block, "place": "final", "index": i, "value": np.float32(value)}
        for block, of_tensor in enumerate(values)
        for i, value in enumerate(of_tensor)
    ]
    return pd.DataFrame(rows)


def test_shares_are_of_all_finite_parameters():
    thresholds = {"gamma_from": 0.2, "gamma_to": 0.4, "beta_near_zero": 0.1}
    found = shares(layernorm_table([[0.3] * 30, [0.9, np.nan, np.inf, 5.0]]), thresholds)
    assert found == {"gamma_in_range": {"m": 30 / 32}, "gamma_below_1": {"m": 31 / 32}, "beta_near_zero": {}}


def test_a_population_has_no_interval_and_no_number_of_observations():
    entry = entry_of("S10", metrics())
    assert (entry["value"], entry["low"], entry["high"], entry["n"]) == (0.76, 0.76, 0.76, None)
    assert entry["interval"] == "none: all of them"
    assert not entry["hangs_on_an_interval"]


def test_reference_figures_are_told_of_checkpoints_that_were_not_measured(tmp_path):
    rows = [
        {"model": model, "revision": "", "family": "GPT-2", "block": 0, "place": "final", "kind": "gamma", "index": 0,
         "value": np.float32(0.3), "stored": "F32"}
        for model in ("gpt2", "gpt2-xl", "mine")
    ]  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    thresholds = {"gamma_from": 0.2, "gamma_to": 0.4, "beta_near_zero": 0.1}
    claims.tables.write(tmp_path / "layernorm.parquet", "layernorm", columns, {"layernorm": thresholds})
    found = claims.with_shares({"sweep": 1}, tmp_path / "layernorm.parquet")
    assert found["sweep"] == 1
    assert set(found["references"]["gamma_in_range"]) == {"gpt2-medium", "gpt2-large"}
    assert set(found["shares_of_others"]["gamma_in_range"]) == {"gpt2-xl", "mine"}
    assert found["shares"]["gamma_in_range"]["gpt2"] == 1


def test_of_gamma_whose_convention_is_unknown_nothing_is_claimed(tmp_path):
    rows = [
        {"model": model, "revision": "", "family": "x", "block": 0, "place": "final", "kind": kind, "index": 0,
         "value": np.float32(0.05), "stored": "F32"}
        for model in ("gpt2", "mine") for kind in ("gamma", "beta")
    ]  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    thresholds = {"gamma_from": 0.2, "gamma_to": 0.4, "beta_near_zero": 0.1}
    made_with = {"layernorm": thresholds, "unknown_convention": {"gpt2": "no config.json", "mine": "no config.json"}}
    claims.tables.write(tmp_path / "layernorm.parquet", "layernorm", columns, made_with)
    found = claims.with_shares(metrics(), tmp_path / "layernorm.parquet")
    for name in ("S10", "S12"):
        entry = entry_of(name, found)
        assert (entry["verdict"], entry["value"]) == (NOT_MEASURED, None)
        assert entry["note"].startswith("γ as stored, since no config.json;")
        assert "others: mine not measured here (γ as stored, since no config.json)" in entry["note"]
    assert (entry_of("S11", found)["verdict"], entry_of("S11", found)["value"]) == (REPRODUCED, 1)


def test_in_the_pipeline(smoke):
    counted = json.loads(smoke.read("reports/metrics/claims.json"))
    assert sum(counted["by_construction"].values()) == 6
    full = json.loads(smoke.read("data/claims.json"))["claims"]
    assert sum(counted["count"].values()) == sum(counted["count_of_kept"].values()) == len(full) == 24
    assert {entry["id"]: entry["verdict"] for entry in full} == {
        key: value["verdict"] for key, value in counted.items() if "verdict" in value
    }
    assert counted["W1"]["verdict"] == REPRODUCED
    assert counted["S10"]["verdict"] == NOT_MEASURED
    assert counted["S10"]["kept"]["verdict"] == REPRODUCED
    assert counted["W5"]["kept"]["verdict"] == NOT_MEASURED, "there is no control of it"
    assert all(entry["note"] for entry in full if entry["verdict"] == NOT_MEASURED)
    assert all(entry["figure"] or entry["id"] in ("W1", "W3", "W4") for entry in full)
