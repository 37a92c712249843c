"""σ of the products QKᵀ of random matrices by dimension: one pair, and a Monte Carlo over fresh pairs. (S1-S4)

For independent N(0, 1) entries each entry of QKᵀ is a sum of n products with mean 0 and variance 1, so Var(QKᵀ) = n
and σ = √n (Vaswani et al. 2017, footnote 4).

For each n a stream of its own yields trial after trial, of which only running sums are kept, so that memory does not
grow with the trials. It draws float32, whose rounding moves σ by 1e-7. Each n has a thread of its own, since drawing
takes most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from goldilocks.core import rng
from goldilocks.core.progress import Progress
from goldilocks.stats import intervals
from goldilocks.stats.intervals import Estimate

CHUNK_ELEMENTS = 2**17


class Moments(NamedTuple):
    """Sums over trials, and of the squares, of how far σ and σ²/n lie from theory.

    Subtracting √n and 1 first keeps the sums exact.
    """

    deviation: Sequence[float]
    variance_deviation: Sequence[float]


def product_std(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """σ over all entries of each QKᵀ (population standard deviation).

    Args:
        q, k: (..., rows, n).

    Returns:
        (...,) in float64.
    """
    product = q @ np.swapaxes(k, -1, -2)  # (..., rows, rows)
    flat = product.reshape(*product.shape[:-2], -1)
    mean = flat.mean(-1, dtype=np.float64)
    squares = np.einsum("...i,...i->...", flat, flat).astype(np.float64) / flat.shape[-1]
    return np.asarray(np.sqrt(squares - mean**2))


def trial_moments(root_seed: int, rows: int, n: int, trials: int, progress: Progress | None = None) -> Moments:
    """Draw `trials` pairs (rows, n) from the stream of this n and sum up the deviations of their σ from theory.

    The stream is read in order, so the sums do not depend on the chunks it is read in beyond rounding.
    """
    stream = rng.generator(root_seed, "sweep/trial", n)
    chunk = max(1, CHUNK_ELEMENTS // max(rows * rows, 2 * rows * n))
    sums = np.zeros((2, 2))
    for start in range(0, trials, chunk):
        size = min(chunk, trials - start)
        pairs = stream.standard_normal((size, 2, rows, n), dtype=np.float32)
        sigma = product_std(pairs[:, 0], pairs[:, 1])
        sums += [(x.sum(), (x**2).sum()) for x in (sigma - np.sqrt(n), sigma**2 / n - 1)]
        if progress:
            progress.add(size * work(rows, n))
    return Moments(*sums.tolist())


def work(rows: int, n: int) -> int:
    """How much one trial at dimension n costs: numbers drawn and looked at."""
    return 2 * rows * n + rows * rows


def monte_carlo(root_seed: int, rows: int, dimensions: list[int], trials: int, threads: int) -> dict[int, Moments]:
    """The trial moments of every dimension; the result does not depend on the number of threads."""

    largest_first = sorted(set(dimensions), reverse=True)
    total = trials * sum(work(rows, n) for n in largest_first)
    with ThreadPoolExecutor(threads) as pool, Progress("sweep", total, "number") as progress:
        moments = pool.map(lambda n: trial_moments(root_seed, rows, n, trials, progress), largest_first)
        return dict(zip(largest_first, moments, strict=True))


def mean_and_error(sums: Sequence[float], trials: int) -> tuple[float, float]:
    """Mean and its standard error from a sum and a sum of squares."""
    total, total_squared = sums
    mean = total / trials
    variance = max(total_squared - trials * mean**2, 0.0) / (trials - 1)
    return mean, float(np.sqrt(variance / trials))


def sigma_estimate(n: int, moments: Moments, trials: int) -> Estimate:
    """E σ(QKᵀ) at dimension n with its 95 % interval."""
    mean, error = mean_and_error(moments.deviation, trials)
    return intervals.t_interval(float(np.sqrt(n)) + mean, error, trials)


def largest_ratio_error(moments: dict[int, Moments], trials: int) -> dict[str, float]:
    """The largest relative distance of E σ from √n over all n, with a lower and an upper bound.

    The upper bound is the farthest end of the 95 % intervals: if that is small, all of them are. The lower bound is the
    nearest end of the interval that strays most, with intervals that hold for all n at once (Bonferroni).
    """
    distances = []
    for n, of_n in moments.items():
        root = np.sqrt(n)
        e = sigma_estimate(n, of_n, trials)
        wide = intervals.widened(e, len(moments))
        nearest = 0.0 if wide.low <= root <= wide.high else min(abs(wide.low - root), abs(wide.high - root))
        distances.append([abs(e.value - root), nearest, max(abs(e.low - root), abs(e.high - root))] / root)
    value, low, high = np.max(distances, axis=0).tolist()
    return {"value": value, "low": low, "high": high, "n": trials}


def log_log_slope(moments: dict[int, Moments], trials: int) -> Estimate:
    """Least-squares slope of ½ log E σ² on log n, with a 95 % interval from the independent errors at each n.

    The slope is that of log E σ²: E log σ lies below log √n at small n, by Jensen's inequality, with a slope of 0.5016.
    The slope is a fixed linear combination of the logarithms at each n, whose errors are independent because each n
    has its own stream, so its variance is the sum of their variances, weighted by the squared coefficients. By the
    delta method the error of a mean's logarithm is the mean's own over the mean.
    """
    dimensions = np.array(sorted(moments))
    x = np.log(dimensions)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    of_each = [mean_and_error(moments[n].variance_deviation, trials) for n in dimensions.tolist()]
    means, errors = np.array(of_each).T
    slope = float(weights @ (np.log1p(means) + x)) / 2
    error = float(np.sqrt((weights**2) @ (errors / (1 + means)) ** 2)) / 2
    return intervals.t_interval(slope, error, trials)


def r_squared(measured: np.ndarray, theory: np.ndarray) -> float:
    """R² = 1 - Σ(f - t)²/Σ(f - f̄)²: the share of the spread of f that a theory t without free parameters explains."""
    return float(1 - ((measured - theory) ** 2).sum() / ((measured - measured.mean()) ** 2).sum())
