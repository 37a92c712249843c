"""One query's logits on its n random keys, and what softmax makes of them.

All entries of the query q and of the keys k₁ … k_n are N(0, 1). k₁ is the key at the query's own position and is
correlated with it, entry by entry: k₁ = ρq + √(1-ρ²)e. The others are independent of q. A query with its keys is one
trial.

The logits are drawn without the vectors, so that neither time nor memory grows with the dimension d. Given q, each of
qk₂ … qk_n and qe is a sum of independent N(0, 1) variables weighted with the entries of q: normal with variance |q|²
and independent of the others. |q|² is the sum of d squares of N(0, 1) variables: χ² with d degrees of freedom. So with
g₁ … g_n independent and N(0, 1)

    qk₁ = ρ|q|² + √(1-ρ²)|q|g₁,    qk_j = |q|g_j for j > 1

have, taken together, exactly the distribution of the products of the vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from goldilocks.softmax.statistics import (
    effective_number,
    entropy_from_sums,
    even_gradient,
    even_trace,
    gradient_norms,
    jacobian_norm_from_sums,
    trace_from_sum,
)

STATISTICS = (
    "normalised_entropy", "largest_probability", "effective_entries", "jacobian_norm", "gradient_norm", "trace",
)  # fmt: skip


class Rows(NamedTuple):
    """Unscaled logits of some trials; that of the first key for every correlation."""

    first: np.ndarray  # (correlations, trials)
    largest: np.ndarray  # (trials,) of the other keys
    below: np.ndarray  # (trials, n - 1) of the other keys, less the largest of them


def draw(
    query: np.random.Generator, keys: np.random.Generator, d: int, n: int, correlations: list[float], trials: int
) -> Rows:
    """The streams' next trials; the streams are read in order, so the parts of a run are what the whole would be."""
    squared_norm = query.chisquare(d, trials)  # (trials,) |q|²
    products = np.sqrt(squared_norm)[:, None] * keys.standard_normal((trials, n))
    rho = np.array(correlations)[:, None]
    first = rho * squared_norm + np.sqrt(1 - rho**2) * products[:, 0]
    largest = products[:, 1:].max(-1)
    return Rows(first, largest, products[:, 1:] - largest[:, None])


def statistics_at(rows: Rows, scale: float) -> np.ndarray:
    """`STATISTICS` of p = softmax(scale · logits) for every trial: (statistics, correlations, trials).

    All correlations share the exponentials of the other keys, taken relative to the largest of these; where the first
    key's logit is larger still, they are shrunk.
    """
    first, largest, below = scale * rows.first, scale * rows.largest, scale * rows.below
    e = np.exp(below)  # (trials, n - 1)
    total, squares, weighted = e.sum(-1), np.vecdot(e, e), np.vecdot(e, below)  # (trials,)
    cubes = np.vecdot(np.multiply(e, e, out=below), e)

    top = np.maximum(largest, first)  # (correlations, trials), as all that follows
    own, shrink = np.exp(first - top), np.exp(largest - top)
    normaliser = own + shrink * total
    own_p, share = own / normaliser, shrink / normaliser  # p of the first key; that of the others is share · e
    sum_p2 = own_p**2 + share**2 * squares
    sum_p3 = own_p**3 + share**3 * cubes
    mean_logit = own_p * (first - top) + share * (weighted + (largest - top) * total)
    entropy = entropy_from_sums(normaliser, mean_logit)
    jacobian = jacobian_norm_from_sums(sum_p2, sum_p3)
    gradient = own_p * np.sqrt(1 - 2 * own_p + sum_p2)  # added in another order than in `gradient_norms`: the last bit
    for i in range(len(first)):
        p = np.multiply(e, share[i, :, None], out=below)  # (trials, n - 1)
        gradient[i] += share[i] * np.vecdot(e, gradient_norms(p, sum_p2[i, :, None], out=p))
    n = e.shape[-1] + 1
    return np.stack(
        [entropy / np.log(n), 1 / normaliser, effective_number(entropy), jacobian, gradient, trace_from_sum(sum_p2)]
    )


def bounds(n: np.ndarray) -> dict[str, tuple[np.ndarray | float, np.ndarray | float]]:
    """The least and the largest value that each of `STATISTICS` can have for n keys."""
    ends = ((0, 1), (1 / n, 1), (1, n), (0, 1 / 2), (0, even_gradient(n)), (0, even_trace(n)))
    return dict(zip(STATISTICS, ends, strict=True))
