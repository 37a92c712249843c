"""One query's logits on its n keys, and what softmax makes of them.

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

    Three measure the gradient. The Jacobian J = diag(p) - ppᵀ has the Frobenius norm ‖J‖² = Σp² - 2Σp³ + (Σp²)²:
    attention passes a gradient g by p on as Jg, and for g ~ N(0, I) E‖Jg‖² = tr JᵀJ = ‖J‖². Its trace is Σp(1 - p), n
    times the mean derivative of a probability by its own logit. The gradient of -log p_t by the logits, which a loss
    passes on, is p - e_t, with ‖p - e_t‖² = 1 - 2p_t + Σp²; its norm is averaged over t drawn from p. Close to a
    one-hot p, cancellation leaves both norms an absolute accuracy of about 1e-8.

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
    entropy = np.log(normaliser) - mean_logit
    jacobian = np.sqrt(np.maximum(sum_p2 - 2 * sum_p3 + sum_p2**2, 0))
    gradient = own_p * np.sqrt(1 - 2 * own_p + sum_p2)
    for i in range(len(first)):
        distance = np.multiply(e, -2 * share[i, :, None], out=below)  # (trials, n - 1), to become ‖p - e_t‖
        distance += 1 + sum_p2[i, :, None]  # not negative, rounded or not: Σp² ≥ p_t² ≥ 2p_t - 1, exact for p_t ≥ 1/2
        gradient[i] += share[i] * np.vecdot(e, np.sqrt(distance, out=distance))
    n = e.shape[-1] + 1
    return np.stack([entropy / np.log(n), 1 / normaliser, np.exp(entropy), jacobian, gradient, 1 - sum_p2])


def even_gradient(n: np.ndarray) -> np.ndarray:
    """The mean gradient norm of an even softmax over n keys, √(1 - 1/n).

    It is the largest there is: E‖p - e_t‖ ≤ √(1 - Σp²) by Jensen's inequality, and Σp² ≥ 1/n.
    """
    return np.asarray(np.sqrt(1 - 1 / n))


def even_jacobian(n: np.ndarray) -> np.ndarray:
    """The Jacobian's norm of an even softmax over n keys, √(n - 1)/n; most rows between even and one-hot have more."""
    return np.asarray(np.sqrt(n - 1) / n)


def bounds(n: np.ndarray) -> dict[str, tuple[np.ndarray | float, np.ndarray | float]]:
    """The least and the largest value that each of `STATISTICS` can have for n keys."""
    ends = ((0, 1), (1 / n, 1), (1, n), (0, 1 / 2), (0, even_gradient(n)), (0, 1 - 1 / n))
    return dict(zip(STATISTICS, ends, strict=True))
