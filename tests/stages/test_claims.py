"""What each claim asks for, and what stands beside its verdict."""

import json

import pytest
from measured import MARGINS, TRIED, entries, metrics, place_of, verdicts

from goldilocks.claims.criteria import MetricTree
from goldilocks.claims.definitions import CLAIMS
from goldilocks.claims.verdicts import (
    DEPENDS,
    NOT_MEASURED,
    NOT_REPRODUCED,
    REPRODUCED,
    UNDECIDED,
    Remark,
    format_remark,
    judge_all,
)
from goldilocks.core import files
from stages import claims

CASES = [
    (claim, path, of, verdict)
    for claim, rows in TRIED.items()
    for path, _, refuted, undecided in rows
    for of, verdict in ((refuted, NOT_REPRODUCED), (undecided, UNDECIDED))
    if of is not None
]


def test_every_claim_of_the_articles_is_declared_once():
    assert [claim.id for claim in CLAIMS] == [f"S{i}" for i in range(1, 16)] + [f"W{i}" for i in range(1, 10)]
    assert list(TRIED) == [claim.id for claim in CLAIMS]
    by_construction = [claim.id for claim in CLAIMS if claim.by_construction]
    assert by_construction == ["S1", "S2", "S3", "S4", "S9", "W1", "W2", "W3", "W4"]


def test_what_reproduces_is_called_so():
    assert set(verdicts(metrics()).values()) == {REPRODUCED}


@pytest.mark.parametrize(("claim", "path", "of", "verdict"), CASES)
def test_each_requirement_can_fail_and_be_undecided_and_does_so_alone(claim, path, of, verdict):
    if claim in ("S7", "W7", "W8") and verdict == NOT_REPRODUCED:
        verdict = DEPENDS  # by the other measures it holds
    assert {name: v for name, v in verdicts(metrics({path: of})).items() if v != REPRODUCED} == {claim: verdict}


@pytest.mark.parametrize("path", dict.fromkeys(path for rows in TRIED.values() for path, *_ in rows))
def test_what_is_not_there_is_not_measured_and_says_why(path):
    found = metrics()
    place, last = place_of(found, path)
    for absent in (lambda: place.update({last: None}), lambda: place.pop(last)):  # as where no pair of seeds has it
        absent()
        missing = [entry for entry in entries(found).values() if entry["verdict"] != REPRODUCED]
        assert {entry["verdict"] for entry in missing} == {NOT_MEASURED}
        assert len(missing) == (2 if last == "largest_gradient_unscaled" else 1), "S8 asks for it too"
        assert all(entry["reason"] and entry["value"] is None for entry in missing)


def test_every_remark_finds_its_number_in_what_is_committed_and_stands_in_the_claims_notes(committed):
    reports = committed / "reports"
    found = claims.measured(reports) | {"ablations": files.read_json(reports / "ablations" / "metrics.json")}
    known = MetricTree(claims.with_shares(found), MARGINS)
    for claim, entry in zip(CLAIMS, judge_all(CLAIMS, known), strict=True):
        for remark in claim.remarks:
            text = format_remark(remark, known)
            assert text in entry["notes"]
            assert text.startswith(remark.text) or remark.path.startswith("shares_of_others."), remark.path


def test_a_remark_tells_all_of_a_mapping_in_the_order_of_the_numbers_in_its_names():
    of = {"length_1024": 0, "length_16": 16384, "rho_0_3": 4}
    remark = Remark("half of it", "a.b", "from d = {number} {name}", "nowhere {name}")
    told = "half of it from d = 16384 with 16 keys, nowhere with 1024 keys, from d = 4 for ρ = 0.3"
    assert format_remark(remark, MetricTree({"a": {"b": of}}, {})) == told
    assert format_remark(remark, MetricTree({"a": {"b": {}}}, {})) == format_remark(remark, MetricTree({}, {})) == ""


def shares_of(share, models, **more):
    """The metrics of checkpoints, all alike."""
    kinds = {"gamma": {"share_in_range": share, "share_below_1": share}, "beta": {"share_near_zero": 1.0}}
    return {"layernorm": dict.fromkeys(models, kinds | more)}


def test_shares_are_of_a_population_without_an_interval():
    entry = entries(metrics())["S10"]
    assert (entry["value"], entry["low"], entry["high"], entry["n"]) == (0.76, 0.76, 0.76, None)
    assert entry["interval"] == "none: all of them"
    assert not entry["has_sampling_error"]


def test_reference_figures_are_of_checkpoints_that_were_not_measured():
    found = claims.with_shares({"sweep": 1} | shares_of(0.9, ["gpt2", "gpt2-xl", "mine"]))
    assert found["sweep"] == 1
    assert set(found["references"]["gamma_in_range"]) == {"gpt2-medium", "gpt2-large"}
    assert set(found["shares_of_others"]["gamma_in_range"]) == {"gpt2-xl", "mine"}
    expected = {"gamma_in_range": 0.9, "gamma_below_1": 0.9, "beta_near_zero": 1}
    assert {share: of["gpt2"] for share, of in found["shares"].items()} == expected
    without = claims.with_shares(metrics() | {"layernorm": {"gpt2": {"unrecognised": 3}}})
    for name in ("S10", "S11", "S12"):
        entry = entries(without)[name]
        assert entry["verdict"] == NOT_MEASURED
        assert "reference figure: " in entry["reason"]


def test_of_gamma_whose_convention_is_unknown_nothing_is_claimed():
    unknown = shares_of(0.05, ["gpt2", "mine"], unknown_convention="no config.json")
    found = entries(claims.with_shares(metrics() | unknown))
    for name in ("S10", "S12"):
        entry = found[name]
        assert (entry["verdict"], entry["value"]) == (NOT_MEASURED, None)
        assert entry["reason"] == "γ as stored, since no config.json"
        assert "others: mine not measured here (γ as stored, since no config.json)" in entry["notes"]
    assert (found["S11"]["verdict"], found["S11"]["value"]) == (REPRODUCED, 1)


def test_in_the_pipeline(smoke):
    counted = json.loads(smoke.read("reports/metrics/claims.json"))
    assert sum(counted["by_construction"].values()) == 9
    full = json.loads(smoke.read("data/claims.json"))["claims"]
    assert sum(counted["count"].values()) == sum(counted["count_of_kept"].values()) == len(full) == 24
    assert {entry["id"]: entry["verdict"] for entry in full} == {
        key: value["verdict"] for key, value in counted.items() if "verdict" in value
    }
    assert counted["W1"]["verdict"] == REPRODUCED
    assert counted["S10"]["verdict"] == NOT_MEASURED
    assert counted["S10"]["kept"]["verdict"] == REPRODUCED
    assert counted["W5"]["kept"]["verdict"] == NOT_MEASURED, "there is no control of it"
    assert all(bool(entry["reason"]) == (entry["verdict"] == NOT_MEASURED) for entry in full)
    assert all(entry["figure"] or entry["id"] in ("W1", "W3", "W4") for entry in full)
