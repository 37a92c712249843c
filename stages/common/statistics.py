"""Estimates with the intervals that belong to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A number, its 95 % confidence interval and the number of independent observations behind it."""

    value: float
    low: float
    high: float
    n: int

    def scaled(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.n)

    def as_metrics(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def t_interval(mean: float, standard_error: float, n: int) -> Estimate:
    """Student's t interval around `mean` with n - 1 degrees of freedom."""
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * standard_error
    return Estimate(mean, mean - half, mean + half, n)


def mean_interval(values: ArrayLike) -> Estimate:
    """The mean of independent observations with Student's t interval.

    A single observation says nothing about the spread: its interval is the point itself with n = 1, and whoever
    judges by it must look at n.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 1:
        return Estimate(float(x[0]), float(x[0]), float(x[0]), 1)
    return t_interval(float(x.mean()), float(x.std(ddof=1)) / np.sqrt(x.size), x.size)


def std_interval(values: ArrayLike) -> Estimate:
    """The standard deviation of independent normal observations with its exact χ² interval."""
    from scipy.stats import chi2

    x = np.asarray(values, dtype=np.float64).ravel()
    squares = ((x - x.mean()) ** 2).sum()
    low, high = (np.sqrt(squares / chi2.ppf(p, x.size - 1)) for p in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2))
    return Estimate(float(x.std(ddof=1)), float(low), float(high), x.size)


def share_interval(successes: int, n: int) -> Estimate:
    """A share with the exact interval of Clopper and Pearson (1934)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def reduced_chi_square_range(degrees: int, share: float = 0.999) -> tuple[float, float]:
    """Where χ²/df lies for true hypotheses in `share` of all cases."""
    from scipy.stats import chi2

    low, high = chi2.ppf([(1 - share) / 2, (1 + share) / 2], degrees) / degrees
    return float(low), float(high)


def excess_kurtosis(values: ArrayLike) -> float:
    """m₄ / m₂² - 3 with central moments: 0 for a normal, -1.2 for a uniform, 3 for a Laplace distribution.

    0 for a constant, which has no shape.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    squares = (x - x.mean()) ** 2
    variance = squares.mean()
    return float((squares**2).mean() / variance**2 - 3) if variance > 0 else 0.0


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's ρ; 0 when one of them is constant, which has no order."""
    from scipy.stats import spearmanr

    if np.ptp(np.asarray(x)) == 0 or np.ptp(np.asarray(y)) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)
