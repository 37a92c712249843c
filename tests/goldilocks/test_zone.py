import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp

from goldilocks.core import rng
from goldilocks.softmax import drawn_rows, statistics, zone


def generators(d=6):
    return [rng.generator(1, name, d) for name in ("query", "keys")]


def of_logits(z, first=None):
    """Rows from logits z (trials, n), the first key's logits being z's own or those given."""
    first = z[None, :, 0] if first is None else first
    return drawn_rows.Rows(first, z[:, 1:].max(-1), z[:, 1:] - z[:, 1:].max(-1, keepdims=True))


def by_definition(z):
    """The statistics of softmax(z), z (..., n), with each matrix and vector written out: (statistics, ...)."""
    p = statistics.softmax(z)
    identity = np.eye(z.shape[-1])
    jacobian = p[..., None] * identity - p[..., None] * p[..., None, :]
    gradients = np.linalg.norm(p[..., None, :] - identity, axis=-1)  # (..., t)
    entropy = statistics.entropy(statistics.log_softmax(z))
    norm = np.linalg.norm(jacobian, axis=(-1, -2))
    trace = np.trace(jacobian, axis1=-2, axis2=-1)
    return np.stack([entropy / np.log(z.shape[-1]), p.max(-1), np.exp(entropy), norm, (p * gradients).sum(-1), trace])


@given(arrays(np.float64, (3, 7), elements=st.floats(-40, 40)), st.floats(0.01, 3), st.floats(-200, 200))
def test_statistics_are_what_they_are_defined_as(z, scale, first):
    several = np.stack([z[:, 0], np.full(3, first)])
    expected = np.stack([by_definition(scale * np.column_stack([one, z[:, 1:]])) for one in several], axis=1)
    np.testing.assert_allclose(drawn_rows.statistics_at(of_logits(z, several), scale), expected, rtol=1e-6, atol=1e-7)
    p = statistics.softmax(scale * z)
    of_p = [measure(p) for measure in (statistics.jacobian_norm, statistics.gradient_norm, statistics.trace)]
    np.testing.assert_allclose(of_p, by_definition(scale * z)[3:], rtol=1e-6, atol=1e-7)


def test_statistics_of_known_distributions():
    n = 50
    even = drawn_rows.statistics_at(of_logits(np.zeros((1, n))), 1.0).ravel()
    np.testing.assert_allclose(even, [1, 1 / n, n, np.sqrt(n - 1) / n, np.sqrt(1 - 1 / n), 1 - 1 / n])
    assert even[-2] == pytest.approx(statistics.even_gradient(np.array(n)))
    assert even[-3] == pytest.approx(statistics.even_jacobian(np.array(n)))
    for one in (0, 7):
        one_hot = drawn_rows.statistics_at(of_logits(1e6 * np.eye(n)[[one]]), 1.0).ravel()
        np.testing.assert_allclose(one_hot, [0, 1, 1, 0, 0, 0], atol=1e-7)
    halves = drawn_rows.statistics_at(of_logits(1e6 * np.eye(n)[[3]] + 1e6 * np.eye(n)[[0]]), 1.0).ravel()
    np.testing.assert_allclose(halves, [np.log(2) / np.log(n), 0.5, 2, 0.5, np.sqrt(0.5), 0.5])


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_logits_drawn_without_vectors_are_distributed_as_products_of_vectors(rho):
    """Row statistics, and so their means and quantiles, of explicit products: Kolmogorov-Smirnov, fixed streams."""
    d, n, trials = 6, 12, 20_000
    drawn = drawn_rows.draw(*generators(d), d, n, [rho], trials)
    vectors = np.random.default_rng(5).standard_normal((trials, n + 1, d))
    q, k = vectors[:, 0], vectors[:, 1:]
    k[:, 0] = rho * q + np.sqrt(1 - rho**2) * k[:, 0]
    products = np.einsum("td,tnd->tn", q, k)
    assert ks_2samp(drawn.first[0], products[:, 0]).pvalue > 0.001
    assert ks_2samp(drawn.largest, products[:, 1:].max(-1)).pvalue > 0.001
    for scale in (1.0, d**-0.5):
        ours, explicit = (drawn_rows.statistics_at(rows, scale)[:, 0] for rows in (drawn, of_logits(products)))
        for name, one, other in zip(drawn_rows.STATISTICS, ours, explicit, strict=True):
            assert ks_2samp(one, other).pvalue > 0.001, (name, scale)


def test_statistics_stay_finite_from_even_to_one_hot_and_at_the_widest_dimension():
    drawn = drawn_rows.draw(*generators(), 6, 12, [0.0, 0.1, 1.0], 300)
    for scale in np.geomspace(1e-6, 1e6, 200).tolist():
        assert np.isfinite(drawn_rows.statistics_at(drawn, scale)).all(), scale
    d = 2**20
    found = drawn_rows.statistics_at(drawn_rows.draw(*generators(d), d, 12, [0.0, 0.1, 1.0], 50), 1.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 1:].mean(-1), np.transpose([[0, 1, 1, 0, 0, 0]] * 2), atol=1e-7)


def test_edges_are_found_by_linear_interpolation():
    for values, found in (
        ([0.0, 1.0, 3.0, 9.0], (0.5, False)),  # halfway between 1 and 3
        ([0.0, 2.0, 3.0, 9.0], (0.6, False)),  # exactly there
        ([2.5, 1.0, 3.0, 9.0], (1.0, True)),  # from the start, whatever follows
        ([0.0, 3.0, 1.0, 9.0], (1 - 0.4 * 2 / 3, False)),  # the first of two
        ([0.0, 1.0, 1.5, 1.9], (0.0, True)),  # never
    ):
        assert zone.first_met(np.array([1.0, 0.6, 0.4, 0.0]), np.array(values), 2.0) == pytest.approx(found)


def cells(**columns):
    """A map of one length and correlation from (dimensions, scales) arrays, scales 1/d, 1/√d and 1; no spread."""
    dimensions = np.array([4, 16, 64])
    table = {"dimension": np.repeat(dimensions, 3), "length": 8, "correlation": 0.0}
    table |= {"exponent": np.tile([1.0, 0.5, 0.0], 3), "trials": 10}
    for name, values in columns.items():
        table |= dict.fromkeys(zone.with_interval(name), np.ravel(values))
    return pd.DataFrame(table)


KINDS = ("inside", "outside", "undecided")
GRADIENT = [[1.0, 0.9, 0.6], [1.0, 0.8, 0.3], [1.0, 0.4, 0.0]]
DISCRIMINATION = [[2.5, 3.0, 7.0], [1.5, 2.5, 8.0], [1.0, 5.0, 8.0]]


def test_the_zones_edges_as_scales_and_exponents():
    found = zone.edges(cells(relative_gradient=GRADIENT, discrimination=DISCRIMINATION), 0.5, 2.0)
    assert found["dimension"].tolist() == [4, 16, 64]
    np.testing.assert_allclose(found["lower_exponent"], [1, 0.75, 1 - 0.5 / 4])
    np.testing.assert_allclose(found["upper_exponent"], [0, 0.5 * 2 / 5, 0.5 + 0.5 / 6])
    assert found["lower_beyond"].tolist() == [True, False, False]
    assert found["upper_beyond"].tolist() == [True, False, False]
    np.testing.assert_allclose(found["lower"], [1 / 4, 16**-0.75, 64**-0.875])
    np.testing.assert_allclose(found["upper"], [1, 16**-0.2, 64 ** -(7 / 12)])
    np.testing.assert_allclose(found["decades"], np.log10(found["upper"] / found["lower"]))


def test_where_both_are_never_met_together_the_zone_has_no_width():
    table = cells(relative_gradient=[[1.0, 0.0, 0.0]] * 3, discrimination=[[1.0, 1.0, 8.0], [1.0] * 3, [8.0] * 3])
    found = zone.edges(table, 0.5, 2.0)
    assert found["decades"].tolist()[:2] == [0, 0]
    assert found["decades"][2] == pytest.approx(np.log10(64**0.25))
    assert found["lower_exponent"][1] == 0
    assert found["lower_beyond"].tolist() == [False, True, True]


def test_a_cell_is_inside_or_outside_only_by_its_whole_intervals():
    table = pd.DataFrame(
        {
            "relative_gradient_low": [0.5, 0.4, 0.4, 0.9, 0.4],
            "relative_gradient_high": [0.6, 0.6, 0.49, 0.9, 0.6],
            "discrimination_low": [2.0, 3.0, 3.0, 1.0, 1.0],
            "discrimination_high": [2.5, 3.0, 3.0, 2.5, 1.9],
        }
    )
    assert zone.verdicts(table, 0.5, 2.0).tolist() == ["inside", "undecided", "outside", "undecided", "outside"]
    gradient, discrimination = pd.Series([0.6, 0.4, 0.6, 0.4]), pd.Series([3.0, 3.0, 1.5, 1.5])
    assert zone.sides(gradient, discrimination, 0.5, 2.0).tolist() == ["inside", "saturated", "flat", "flat"]
    for held, found in (("001", 64), ("011", 16), ("111", 4), ("101", 64), ("110", 0)):
        assert zone._from_there_on(np.array([4, 16, 64]), np.array([c == "1" for c in held])) == found


def test_metrics_say_what_the_map_holds():
    jacobian = [[0.1, 0.2, 0.15], [0.1, 0.2, 0.09], [0.1, 0.2, 0.3]]
    table = cells(relative_gradient=GRADIENT, discrimination=DISCRIMINATION, jacobian_norm=jacobian)
    table.loc[table["dimension"] == 16, "relative_gradient_low"] -= 0.6
    table["zone"] = zone.verdicts(table, 0.5, 2.0)
    edges = zone.edges(table, 0.5, 2.0)
    found = zone.metrics(table, edges)
    assert found["dimensions"] == 3
    counts = {kind: [found[name][f"dimensions_{kind}"] for name in zone.NAMED_EXPONENTS] for kind in KINDS}
    assert counts == {"inside": [1, 1, 1], "outside": [2, 1, 2], "undecided": [0, 1, 0]}
    assert found["unscaled"]["widest_dimension_inside"] == 4
    assert found["unscaled"]["jacobian_halves_from_dimension"] == 16
    assert found["by_root_d"]["outside_from_dimension"] == 64, "at 16 it is undecided"
    assert found["zone"]["decades_at_widest_dimension"] == pytest.approx(np.log10(64 ** (7 / 8 - 7 / 12)))
    even = dict.fromkeys(zone.with_interval("jacobian_norm"), 0.2)
    nowhere = zone.metrics(table.assign(zone=zone.OUTSIDE, **even), edges)["unscaled"]
    assert (nowhere["widest_dimension_inside"], nowhere["jacobian_halves_from_dimension"]) == (0, 0)
    assert nowhere["jacobian_not_halved_to_dimension"] == 64


def test_a_jacobian_has_halved_or_has_not_only_by_its_whole_intervals():
    jacobian = [[0.1, 0.2, 0.15], [0.1, 0.2, 0.09], [0.1, 0.2, 0.05]]
    table = cells(relative_gradient=GRADIENT, discrimination=DISCRIMINATION, jacobian_norm=jacobian)
    for cell, end, value, halves_from in ((4, "low", 0.17, 64), (8, "high", 0.11, 0)):
        table.loc[cell, f"jacobian_norm_{end}"] = value
        found = zone.metrics(table.assign(zone=zone.INSIDE), zone.edges(table, 0.5, 2.0))["unscaled"]
        assert found["jacobian_not_halved_to_dimension"] == 4
        assert found["jacobian_halves_from_dimension"] == halves_from


def test_the_largest_growth_has_the_errors_of_both_dimensions():
    table = cells(relative_jacobian=[[1, 1, 1.0], [1, 1, 2.0], [1, 1, 1.0]]).query("exponent == 0").reset_index()
    table.loc[0, ["relative_jacobian_low", "relative_jacobian_high"]] = [0.9, 1.3]
    table.loc[1, ["relative_jacobian_low", "relative_jacobian_high"]] = [1.2, 2.8]
    found = zone._largest_growth(table, "relative_jacobian")
    assert found == pytest.approx(
        {"value": 2, "low": 2 * (1 - np.hypot(0.4, 0.3)), "high": 2 * (1 + np.hypot(0.4, 0.1)), "n": 10}
    )
    gone = cells(relative_jacobian=[[1, 1, 1.0], [1, 1, 0.0], [1, 1, 0.0]]).query("exponent == 0")
    assert zone._largest_growth(gone, "relative_jacobian")["value"] == 0
