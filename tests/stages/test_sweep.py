import numpy as np
import pytest

from goldilocks.stats import product_moments
from stages import matrices


def test_the_result_does_not_depend_on_threads_and_a_dimension_more_changes_no_other():
    one, two = (product_moments.monte_carlo(1, 10, [2, 3, 4], 30, threads) for threads in (1, 2))
    assert one == two
    more = product_moments.monte_carlo(1, 10, [2, 3, 4, 9], 30, 2)
    assert {n: more[n] for n in one} == one


def test_moments_are_of_numpys_std_whatever_the_chunks_and_more_trials_continue_the_same_stream(monkeypatch):
    """30 trials and the next 30 must add up to the moments of 60."""
    pairs = product_moments.rng.generator(1, "sweep/trial", 5).standard_normal((60, 2, 10, 5), dtype=np.float32)
    sigma = np.array([(q.astype(np.float64) @ k.T).std() for q, k in pairs]) - np.sqrt(5)
    for trials in (30, 60):
        whole = product_moments.trial_moments(1, 10, 5, trials)
        assert whole.deviation[0] == pytest.approx(sigma[:trials].sum(), rel=1e-4)
        with monkeypatch.context() as patched:
            patched.setattr(product_moments, "CHUNK_ELEMENTS", 1)
            np.testing.assert_allclose(product_moments.trial_moments(1, 10, 5, trials), whole, rtol=1e-12)


def test_the_interval_covers_theory_and_the_slope_is_one_half():
    dimensions, trials = list(range(2, 40, 3)), 200
    moments = product_moments.monte_carlo(7, 50, dimensions, trials, 2)
    slope = product_moments.log_log_slope(moments, trials)
    assert slope.low < slope.value < slope.high < slope.low + 0.01
    assert abs(slope.value - 0.5) < slope.high - slope.low, "four standard errors"
    estimates = {n: product_moments.sigma_estimate(n, moments[n], trials) for n in dimensions}
    covered = [estimate.low <= np.sqrt(n) <= estimate.high for n, estimate in estimates.items()]
    assert np.mean(covered) >= 0.8
    assert all(estimate.high - estimate.low < 0.05 * np.sqrt(n) for n, estimate in estimates.items())


def test_the_slope_finds_another_exponent():
    """Moments of an exact power law σ = n^0.7 without noise must give 0.7 and no interval."""
    excess = {n: n**0.4 - 1 for n in (2, 5, 11, 40)}
    moments = {n: product_moments.Moments((0, 0), (10 * x, 10 * x**2)) for n, x in excess.items()}
    slope = product_moments.log_log_slope(moments, 10)
    assert slope[:3] == pytest.approx((0.7, 0.7, 0.7), abs=1e-6)


def test_noise_in_sigma_does_not_tilt_the_slope_and_its_interval_is_that_of_repeated_slopes():
    """Variances 3n·(1 ± s), with more noise at small n as products have it: E log σ would be biased by -s²/4 there."""
    rng = np.random.default_rng(0)
    dimensions, trials = np.array([2, 4, 8, 16, 64]), 400
    slopes = []
    for _ in range(300):
        ratio = 3 * rng.normal(1, 0.5 / np.sqrt(dimensions), (trials, dimensions.size)) - 1
        sums = zip(ratio.sum(0), (ratio**2).sum(0), strict=True)
        moments = {n: product_moments.Moments((0, 0), of_n) for n, of_n in zip(dimensions.tolist(), sums, strict=True)}
        slopes.append(product_moments.log_log_slope(moments, trials))
    values = np.array([slope.value for slope in slopes])
    assert values.mean() == pytest.approx(0.5, abs=4 * values.std() / np.sqrt(300))
    half = np.mean([slope.high - slope.low for slope in slopes]) / 2
    assert half == pytest.approx(1.966 * values.std(), rel=0.15)


def test_r_squared_of_a_theory_that_fits_and_of_none():
    theory = np.array([1.0, 2.0, 3.0])
    assert product_moments.r_squared(theory, theory) == 1
    assert product_moments.r_squared(np.array([1.0, 2.0, 4.0]), theory) == pytest.approx(1 - 1 / (14 / 3))
    assert product_moments.r_squared(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0)) == 0


def test_matrices_are_standard_normal_and_each_has_its_own_stream():
    pair = matrices.draw_pair(5, 2, 400, 30)
    assert set(pair) == {"Q.30", "K.30"}
    assert pair["Q.30"].shape == (400, 30)
    assert pair["Q.30"].std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(pair["Q.30"].ravel(), pair["K.30"].ravel())[0, 1]) < 0.05
    assert not np.array_equal(pair["Q.30"], matrices.draw_pair(5, 1, 400, 30)["Q.30"])
    np.testing.assert_array_equal(pair["Q.30"], matrices.draw_pair(5, 2, 400, 30)["Q.30"])


def moments_of(sigma, n, trials=50):
    """The moments of trials whose σ has the mean given, with a spread of 0.1."""
    values = sigma + 0.1 * np.resize([-1.0, 1.0], trials)
    x, ratio = values - np.sqrt(n), values**2 / n - 1
    return product_moments.Moments((x.sum(), (x**2).sum()), (ratio.sum(), (ratio**2).sum()))


def test_the_largest_ratio_error_ends_at_the_farthest_end_above_and_holds_for_all_n_below():
    moments = {4: moments_of(2.0, 4), 9: moments_of(3.3, 9), 16: moments_of(4.0, 16)}
    found = product_moments.largest_ratio_error(moments, 50)
    assert found["value"] == pytest.approx(0.1)
    half = 2.009575 * 0.1 / np.sqrt(49)  # t with 49 degrees of freedom
    assert found["high"] == pytest.approx(0.1 + half / 3, rel=1e-5)
    assert 0.1 - 1.6 * half / 3 < found["low"] < 0.1 - 1.1 * half / 3, "wider, for three n at once"
    near = product_moments.largest_ratio_error({4: moments_of(2.0, 4), 9: moments_of(3.01, 9)}, 50)
    assert near["low"] == 0
    assert near["value"] == pytest.approx(0.01 / 3)
