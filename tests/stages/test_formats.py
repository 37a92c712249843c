from itertools import product

import numpy as np
import pytest
from scipy.special import ndtr, softmax
from test_floats import by_cast

from goldilocks.core import files, tables
from goldilocks.softmax import drawn_rows, failures
from goldilocks.softmax.floats import FLOAT64, FORMATS, rounded_to
from goldilocks.stats.intervals import share_interval
from stages import formats


@pytest.mark.parametrize(
    ("name", "overflow", "subnormal", "zero"),
    [("fp32", 88.72, -87.34, -103.97), ("bf16", 88.72, -87.34, -92.88), ("fp16", 11.09, -9.70, -17.33)],
)
def test_the_thresholds_of_exp_are_where_rounding_changes_sides(name, overflow, subnormal, zero):
    derived = failures.exp_thresholds(FORMATS[name])
    assert {kind: round(x, 2) for kind, x in derived.items()} == {
        "overflow": overflow, "subnormal": subnormal, "zero": zero
    }  # fmt: skip
    largest, smallest, normal = FORMATS[name].largest, FORMATS[name].smallest_subnormal, FORMATS[name].smallest_normal
    sides = {"overflow": (largest, np.inf), "subnormal": (normal, normal - smallest), "zero": (smallest, 0)}
    for kind, x in derived.items():
        near, beyond = rounded_to(np.exp(x + np.sign(x) * np.array([-1e-9, 1e-9])), FORMATS[name])
        assert (near, beyond) == sides[kind]


def test_dot_products_are_those_of_the_rounded_vectors_whatever_the_chunks(monkeypatch):
    rows, keys, d = 3, 2, 50
    whole = formats.dot_products(1, rows, keys, d)
    vectors = formats.rng.generator(1, "formats/vectors", d).standard_normal((d, rows + keys)).T
    for name, found in whole.items():
        x = vectors if name == formats.REFERENCE else by_cast(vectors, name)
        expected = np.hstack([(x[:rows] ** 2).sum(-1, keepdims=True), x[:rows] @ x[rows:].T])
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert np.abs(whole["fp16"] - whole["float64"]).max() > 1e-5
    monkeypatch.setattr(formats, "CHUNK_ELEMENTS", 7)
    for name, found in formats.dot_products(1, rows, keys, d).items():
        np.testing.assert_allclose(found, whole[name], rtol=1e-12)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_softmax_rounds_every_operation_once(name, subtract):
    z = by_cast(np.random.default_rng(0).normal(0, 5, (40, 9)), name)
    with np.errstate(all="ignore"):
        x = by_cast(z - z.max(-1, keepdims=True), name) if subtract else z
        e = by_cast(np.exp(x), name)
        total = by_cast(e.sum(-1, keepdims=True), name)
        p = by_cast(e / total, name)
    found = failures.softmax(z, FORMATS[name], subtract)
    for ours, expected in zip(found, (x, e, total, p), strict=True):
        np.testing.assert_array_equal(ours, expected)


def outcome(logits, subtract=False, divisor=1.0, name="fp16"):
    dots = np.array(logits, np.float64)
    expected = failures.softmax(dots / divisor, FLOAT64, True).probabilities
    return failures.outcome(dots, dots / divisor, expected, divisor, FORMATS[name], subtract)


FINE = [0.0, 1.0, 2.0]
CASES = {
    "fine": ([FINE], {}),
    "dot product": ([[65520.0, 1.0, 0.0], FINE], {"dot_product_overflow": 0.5, "not_finite": 0.5}),
    "exp": ([[11.1, 1.0, 0.0], FINE], {"exp_overflow": 0.5, "not_finite": 0.5}),
    "sum": ([[11.0, 11.01, 0.0], FINE], {"sum_overflow": 0.5}),
    "subnormal": ([[-10.0, -11.0, 0.0], FINE], {"subnormal_exp": 0.5, "subnormal_entries": 2 / 6}),
    "zero": ([[-17.4, -10.0, 0.0], FINE], {"subnormal_exp": 0.5, "subnormal_entries": 1 / 6, "zero_exp": 0.5,
                                           "zero_entries": 1 / 6}),
    "resolution": ([[8.0, 8.001, 0.0], FINE, [8.0, 8.0, 0.0], [0.0, 0.001, 8.0]], {"equal_logits": 0.25}),
}  # fmt: skip


@pytest.mark.parametrize(("logits", "expected"), CASES.values(), ids=CASES)
def test_each_failure_is_counted_as_what_it_is(logits, expected):
    found = outcome(logits)
    shares = [*failures.FAILURES, "sum_overflow", "subnormal_exp", "subnormal_entries", "zero_entries"]
    assert {name: found[name] for name in shares if found[name]} == pytest.approx(expected)
    assert found["finite_rows"] == len(logits) * (1 - found["not_finite"])


def test_subtraction_saves_exp_and_sum_but_not_a_dot_product_and_scaling_saves_neither():
    """15.0078125 and 15.015625 are neighbours in fp16; a third of each rounds to 5.00390625."""
    assert outcome(CASES["exp"][0], subtract=True)["not_finite"] == 0
    assert outcome(CASES["sum"][0], subtract=True)["sum_overflow"] == 0
    for divisor in (1.0, 256.0):
        found = outcome(CASES["dot product"][0], subtract=True, divisor=divisor)
        assert (found["dot_product_overflow"], found["not_finite"]) == (0.5, 0.5)
    near = [[15.0078125, 15.015625, 0.0]]
    assert (outcome(near)["equal_logits"], outcome(near, divisor=3.0)["equal_logits"]) == (0, 1), "scaling rounds too"


def test_the_reference_is_softmax_also_where_exp_overflows_in_float64():
    z = np.random.default_rng(0).normal(0, 300, (20, 9))
    np.testing.assert_allclose(failures.softmax(z, FLOAT64, True).probabilities, softmax(z, axis=-1), rtol=1e-12)
    dots = dict.fromkeys([formats.REFERENCE, *FORMATS], np.array([[5.0, 1000.0, 0.0]]))
    errors = [line["total_variation"] for line in formats.outcomes(dots, 1) if line["softmax"] == "subtracted"]
    assert max(errors) < 0.01


def test_errors_are_those_of_finite_rows_and_nan_if_there_is_none():
    three = outcome([[11.0, 11.01, 0.0], FINE, FINE, [12.0, 0.0, 0.0]])
    assert three["finite_rows"] == 3
    assert three["largest_total_variation"] == pytest.approx(0.5), "a sum that overflows makes every probability 0"
    assert three["total_variation"] == pytest.approx(0.5 / 3, abs=0.001)
    assert three["relative_error"] < 0.001, "the median"
    tied = outcome([[8.0, 8.001]])
    assert tied["relative_error"] == pytest.approx(1 - 0.5 * (1 + np.exp(-0.001)), rel=1e-3)
    assert tied["total_variation"] == pytest.approx(0.5 * np.tanh(0.0005), rel=1e-3)
    none = outcome([[12.0, 1.0]])
    errors = ("relative_error", "total_variation", "largest_total_variation")
    assert none["finite_rows"] == 0
    assert all(np.isnan(none[name]) for name in errors)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ((0, 30, 400), (4, 8)),  # of 5000: 0.6 % is surely less than 1 %, 8 % more
        ((0, 45, 400), (2, 8)),  # 0.9 % is neither
        ((45, 400, 55), (0, 4)),  # nothing surely less before
        ((400, 0, 400), (0, 2)),
        ((0, 30, 55), (4, 0)),  # nor is 1.1 %
        ((0, 0, 0), (8, 0)),
    ],
)
def test_a_failure_appears_where_the_whole_interval_lies_above_the_criterion(counts, found):
    shares = {d: share_interval(count, 5000) for d, count in zip((2, 4, 8), counts, strict=True)}
    assert failures.bracket(shares, 0.01) == found


def test_the_extremes_of_a_row_tell_its_failures():
    """Of rows of 9 logits, of which some fail in each way: the smallest and the two largest against all."""
    z = np.random.default_rng(0).normal(0, 5, (4000, 9))
    z[:40, 0] *= 80_000
    extremes = np.sort(z, -1)[:, [0, -2, -1]]
    for name, subtract in product(FORMATS, (False, True)):
        whole, _ = failures.failures(z, z / 2, 2.0, FORMATS[name], subtract)
        of_extremes, _ = failures.failures(extremes, extremes / 2, 2.0, FORMATS[name], subtract)
        for failure in failures.FAILURES:
            np.testing.assert_array_equal(of_extremes[failure], whole[failure])
            assert whole[failure].any() or name == "fp32" or subtract or failure == "dot_product_overflow", failure


def test_extremes_are_those_of_the_drawn_rows_whatever_the_chunks(monkeypatch):
    query, keys = (formats.rng.generator(1, f"formats/{name}", 4) for name in ("query", "keys"))
    rows = drawn_rows.draw(query, keys, 4, 7, [0.0, 1.0], 300)
    for logits in (2**18, 50):
        monkeypatch.setattr(failures, "LOGITS", logits)
        parts = list(failures.drawn_extremes(1, 300, 7, 4))
        assert len(parts) == (1 if logits > 50 else 43)
        for kind, first in zip(failures.CORRELATIONS, rows.first, strict=True):
            whole = np.sort(np.column_stack([first, rows.below + rows.largest[:, None]]), -1)
            np.testing.assert_array_equal(np.concatenate([part[kind] for part in parts]), whole[:, [0, -2, -1]])


def test_a_share_is_that_of_the_exact_integral_and_has_the_exact_interval():
    """P(some q·k > ln(largest)) with the keys' independent given |q|: 1 - E Φ(t/|q|)^keys."""
    chi = np.sqrt(np.random.default_rng(0).chisquare(8, 400_000))
    expected = (1 - ndtr(failures.exp_thresholds(FORMATS["fp16"])["overflow"] / chi) ** 16).mean()
    found = failures.shares(3, 20_000, 16, 8)["fp16", "unscaled", "naive", "independent"]["not_finite"]
    assert found.low < expected < found.high
    assert found == share_interval(round(found.value * 20_000), 20_000)


def test_rounding_the_vectors_moves_no_share_by_more_than_its_interval():
    d, keys = 16, 8
    found = failures.shares(3, 20_000, keys, d)
    lines = [line for seed in range(60) for line in formats.outcomes(formats.dot_products(seed, 50, keys, d), d)]
    for names, of_names in found.items():
        chosen = [e for e in lines if (e["format"], e["scaling"], e["softmax"], e["keys"]) == names]
        for failure, share in of_names.items():
            values = [e[failure] for e in chosen]
            error = np.std(values) / np.sqrt(60) + (share.high - share.low) / 4
            assert abs(np.mean(values) - share.value) < 4 * error, (names, failure)


def first_not_finite(keys, dimensions, appears):
    return formats.first_dimensions({d: failures.shares(3, 200, keys, d) for d in dimensions}, appears)


def test_aligned_vectors_break_where_the_formats_say():
    """|q|² ≈ d passes ln(largest), scaled √d passes it, and in fp16 d itself passes the largest number."""
    found = first_not_finite(2, [8, 16, 64, 128, 4096, 8192, 32768, 65536], 0.3)
    for name in FORMATS:
        largest = failures.exp_thresholds(FORMATS[name])["overflow"]
        for scaling, expected in (("unscaled", largest), ("scaled", largest**2)):
            here = found[name][scaling]["naive"]["aligned"]
            assert here["first_exp_overflow"] == here["first_not_finite"]
            assert expected / 1.2 < here["first_not_finite"] < 2 * expected
            assert found[name][scaling]["subtracted"]["aligned"]["first_exp_overflow"] == 0
            overflow = found[name][scaling]["subtracted"]["aligned"]["first_not_finite"]
            assert overflow == found[name][scaling]["naive"]["aligned"]["first_dot_product_overflow"]
            assert overflow == (65536 if name == "fp16" else 0)


def test_independent_vectors_break_unscaled_and_naive_alone():
    found = first_not_finite(16, [4, 32, 256, 8192], 0.5)
    for name, expected in (("fp32", 8192), ("bf16", 8192), ("fp16", 256)):
        here = {(s, w): found[name][s][w]["independent"] for s in failures.SCALINGS for w in failures.SUBTRACTED}
        assert here.pop(("unscaled", "naive"))["first_not_finite"] == expected
        assert [entry["first_not_finite"] for entry in here.values()] == [0, 0, 0]


def test_in_the_pipeline(smoke, monkeypatch):
    """The table has a line for each combination; its shares are those of rows with keys of their own."""
    monkeypatch.chdir(smoke.folder)
    table, made_with = tables.read(formats.OUTPUT, "formats"), tables.parameters(formats.OUTPUT)
    names = ["format", "scaling", "softmax", "keys"]
    assert len(table) == len(table.drop_duplicates([*names, "dimension"])) == 24 * table["dimension"].nunique()
    settings, root_seed = made_with["formats"], made_with["run"]["root_seed"]
    of_each = {d: failures.shares(root_seed, settings["queries"], settings["keys"], d) for d in set(table["dimension"])}
    for line in table.to_dict("records"):
        expected = of_each[line["dimension"]][tuple(line[name] for name in names)]
        assert {failure: line[failure] for failure in expected} == {f: share.value for f, share in expected.items()}
    assert files.read_metrics("formats").items() > formats.first_dimensions(of_each, settings["appears"]).items()
