import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import log_softmax

from goldilocks.softmax import statistics, temperature
from stages import softmax

logits = arrays(
    np.float64, array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=12), elements=st.floats(-5000, 5000, width=32)
)


@given(logits)
def test_log_softmax_agrees_with_scipy_and_entropy_lies_between_zero_and_log_n(z):
    log_p = statistics.log_softmax(z)
    np.testing.assert_allclose(log_p, log_softmax(z, axis=-1), rtol=1e-12, atol=1e-12)
    h = statistics.entropy(log_p)
    assert (h >= -1e-12).all()
    assert (h <= np.log(z.shape[-1]) + 1e-12).all()


def test_entropy_of_known_distributions():
    with np.errstate(divide="ignore"):
        log_p = np.log([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(statistics.entropy(log_p), [np.log(4), 0, np.log(2)], atol=1e-12)


@given(arrays(np.float64, 6, elements=st.floats(-8, 8)))
def test_jacobian_norm_is_that_of_the_numerical_derivative(z):
    h = 1e-6
    columns = [(statistics.softmax(z + h * e) - statistics.softmax(z - h * e)) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(
        statistics.jacobian_norm(statistics.softmax(z)), np.linalg.norm(columns), rtol=1e-5, atol=1e-8
    )


def test_what_attention_passes_on_has_the_jacobians_norm_as_its_root_mean_square():
    """E‖Jg‖² = ‖J‖² for g ~ N(0, I), J written out."""
    p = statistics.softmax(np.random.default_rng(0).normal(0, 2, 8))
    g = np.random.default_rng(1).normal(size=(8, 200_000))
    squares = (((np.diag(p) - np.outer(p, p)) @ g) ** 2).sum(0)
    assert squares.mean() == pytest.approx(statistics.jacobian_norm(p) ** 2, abs=4 * squares.std() / np.sqrt(200_000))


def test_measures_of_an_even_row_are_one_and_of_others_relative_to_it():
    even, halves = np.log(np.full((2, 50), 1 / 50)), np.log([0.5, 0.5, *[1e-300] * 48])
    for name, expected in (
        ("relative_gradient", np.sqrt(0.5 / 0.98)),
        ("relative_trace", 0.5 / 0.98),
        ("relative_jacobian", 0.5 * 50 / 7),
    ):
        np.testing.assert_allclose(softmax.STATISTICS[name](even), [1, 1])
        assert softmax.STATISTICS[name](halves) == pytest.approx(expected)


def test_shares_of_negligible_probabilities_and_of_entries_that_hold_half():
    chosen = softmax.with_shares(1e-4)
    log_p = np.log([0.9, 0.05, 5e-3, 5e-5, 5e-7, 5e-7, 0.04, 5e-6, 1e-9, 1e-4])
    names = ("share_of_negligible_probabilities", "share_below_a_hundredth_of_it", "share_below_its_hundredfold")
    assert [chosen[name](log_p) for name in names] == [0.5, 0.3, 0.7]
    half = chosen["share_of_entries_holding_half"]
    assert half(np.log([0.6, 0.2, 0.1, 0.1])) == 0.25
    assert half(np.log([0.3, 0.3, 0.2, 0.1, 0.1])) == pytest.approx(0.4)


def test_tempered_probabilities_and_samples_by_gumbel_follow_the_temperature_and_refute_another():
    z = np.random.default_rng(0).normal(0, 7, (20, 30))
    expected = statistics.softmax(z / 5.0)
    np.testing.assert_allclose(temperature.tempered(statistics.log_softmax(z), 5.0), expected, rtol=1e-12)
    counts = temperature.sampled_counts(z, 5.0, 4000, 1)
    assert counts.sum(-1).tolist() == [4000] * 20
    assert temperature.reduced_chi_square(counts, expected)[0] == pytest.approx(1, abs=0.25)
    assert temperature.reduced_chi_square(counts, statistics.softmax(z / 4.0))[0] > 3


def test_temperature_holds_where_probabilities_underflow():
    d = 100_000
    q, k = np.random.default_rng(0).normal(size=(2, 8, d))
    z, t = q @ k.T, np.sqrt(d)
    log_p = statistics.log_softmax(z)
    assert (np.exp(log_p) == 0).any()
    np.testing.assert_allclose(temperature.tempered(log_p, t), statistics.softmax(z / t), rtol=1e-9)
    counts = temperature.sampled_counts(z, t, 4000, 1)
    assert temperature.reduced_chi_square(counts, statistics.softmax(z / t))[0] == pytest.approx(1, abs=0.6)
    assert 2 < temperature.reduced_chi_square(counts, statistics.softmax(z))[0] < np.inf


def test_trials_do_not_depend_on_how_many_there_are():
    few, many = (softmax.trial_statistics(3, 5, 4, trials, softmax.STATISTICS) for trials in (2, 6))
    for name, values in few["scaled"].items():
        np.testing.assert_array_equal(values, many["scaled"][name][:2])


def test_over_all_entries_the_jacobian_is_that_of_one_softmax():
    found = softmax.trial_statistics(3, 5, 4, 1, {})
    q, k = softmax.rng.generator(3, "softmax/trial", 0).standard_normal((2, 5, 4))
    for scaling, divisor in (("unscaled", 1), ("scaled", 2)):
        p = statistics.softmax((q @ k.T).ravel() / divisor)
        assert found[scaling][softmax.OVER_ALL] == pytest.approx(np.linalg.norm(np.diag(p) - np.outer(p, p)))
