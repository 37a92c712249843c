import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from goldilocks.stats import intervals


def test_the_intervals_of_means_standard_deviations_and_shares_are_scipys():
    x = np.random.default_rng(0).normal(2, 3, 12)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    found = intervals.mean_interval(x)
    assert found == pytest.approx((x.mean(), expected.low, expected.high, 12))
    assert intervals.Moments.of(x).half_width() == pytest.approx(found.high - found.value)
    ends = np.sqrt(11 * x.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 11))
    assert intervals.std_interval(x) == pytest.approx((x.std(ddof=1), *ends, 12))
    assert intervals.mean_interval([4.0]) == (4.0, 4.0, 4.0, 1), "one observation has no spread"
    for count in (0, 3, 12):
        exact = stats.binomtest(count, 12).proportion_ci(0.95, "exact")
        assert intervals.share_interval(count, 12)[:3] == pytest.approx((count / 12, exact.low, exact.high))


def test_an_interval_is_widened_as_students_t_is():
    narrow = intervals.Estimate(1.0, 0.5, 2.0, 5)
    factor = stats.t.ppf(1 - 0.025 / 20, 4) / stats.t.ppf(0.975, 4)
    assert intervals.widened(narrow, 20) == pytest.approx((1.0, 1 - 0.5 * factor, 1 + factor, 5))
    exact = intervals.Estimate(1.0, 1.0, 1.0, 0)
    assert (intervals.widened(narrow, 1), intervals.widened(exact, 20)) == (narrow, exact)


def test_the_interval_of_rank_correlations_ends_where_they_do():
    assert intervals.rank_interval([-1.0, -1.0, -0.2])[1:3] == pytest.approx((-1.0, 0.4140), abs=1e-3)
    assert intervals.rank_interval([1.0, 0.0])[1:3] == (-1, 1)


@given(arrays(np.float64, (2, 12), elements=st.floats(-1, 1)), st.integers(1, 11), st.floats(-1e6, 1e6))
def test_moments_of_parts_are_those_of_the_whole(x, first, place):
    parts = intervals.Moments.of(place + x[:, :first]).merged(intervals.Moments.of(place + x[:, first:]))
    assert parts.n == 12
    np.testing.assert_allclose(parts.mean, place + x.mean(-1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.squares, 12 * x.var(-1), rtol=1e-6, atol=1e-8)
