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


def t_quantile(p: float, degrees: int) -> float:
    """Student's t distribution's quantile, of `scipy.special`: `scipy.stats` takes a second to load."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, p))


def chi_square_quantile(p: float, degrees: int) -> float:
    """The χ² distribution's quantile."""
    from scipy.special import chdtri

    return float(chdtri(degrees, 1 - p))


def t_interval(mean: float, standard_error: float, n: int) -> Estimate:
    """Student's t interval around `mean` with n - 1 degrees of freedom."""
    half = t_quantile((1 + CONFIDENCE) / 2, n - 1) * standard_error
    return Estimate(mean, mean - half, mean + half, n)


def widened(estimate: Estimate, comparisons: int) -> Estimate:
    """An estimate whose interval holds at 1 - 5 %/comparisons (Bonferroni), as if it were a t interval.

    Each side grows as t's quantile does. One observation, or none, has nothing to widen.
    """
    if estimate.n < 2 or comparisons == 1:
        return estimate
    usual, wide = (t_quantile(1 - (1 - CONFIDENCE) / 2 / m, estimate.n - 1) for m in (1, comparisons))
    low, high = (estimate.value + (end - estimate.value) * wide / usual for end in (estimate.low, estimate.high))
    return estimate._replace(low=low, high=high)


class Moments(NamedTuple):
    """Of n observations of each entry of an array: their mean and their summed squared distance from it.

    All that the mean's interval needs, so that observations can be looked at in parts and forgotten.
    """

    n: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Of observations along the last axis: (..., n) to two arrays (...)."""
        mean = values.mean(-1)
        return cls(values.shape[-1], mean, ((values - mean[..., None]) ** 2).sum(-1))

    def merged(self, other: Moments) -> Moments:
        """Both samples as one (Chan, Golub & LeVeque 1983), without the cancellation that sums of squares have."""
        n, shift = self.n + other.n, other.mean - self.mean
        squares = self.squares + other.squares + shift**2 * (self.n * other.n / n)
        return Moments(n, self.mean + shift * (other.n / n), squares)

    def half_width(self) -> np.ndarray:
        """Half the width of Student's t interval around each mean."""
        unit = t_interval(0.0, 1.0, self.n).high
        return np.asarray(unit * np.sqrt(self.squares / (self.n - 1) / self.n))


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
    x = np.asarray(values, dtype=np.float64).ravel()
    squares = ((x - x.mean()) ** 2).sum()
    low, high = (
        np.sqrt(squares / chi_square_quantile(p, x.size - 1)) for p in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    )
    return Estimate(float(x.std(ddof=1)), float(low), float(high), x.size)


def share_interval(successes: int, n: int) -> Estimate:
    """A share with the exact interval of Clopper and Pearson (1934)."""
    from scipy.special import betaincinv

    tail, failures = (1 - CONFIDENCE) / 2, n - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return Estimate(successes / n, low, high, n)


def rank_interval(correlations: ArrayLike) -> Estimate:
    """The mean of rank correlations, one a replicate, with Student's t interval, cut off at -1 and 1."""
    e = mean_interval(correlations)
    return e._replace(low=max(e.low, -1.0), high=min(e.high, 1.0))
