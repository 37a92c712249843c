"""Statistics of a softmax row: its spread over the entries, and the gradient it passes on.

Functions take probabilities `p` or log-probabilities `log_p` along the last axis, (..., n) to (...,). Those that take
sums over a row (Σp², Σp³, …) are for callers that compute these sums in their own way, and take any shape.

There are three measures of the gradient. The Jacobian J = diag(p) - ppᵀ has the Frobenius norm
‖J‖² = Σp² - 2Σp³ + (Σp²)². Attention passes the gradient g by the probabilities on as Jg, and for g of independent
N(0, 1) entries E‖Jg‖² = E gᵀJᵀJg = tr JᵀJ = ‖J‖², so ‖J‖ is the root mean square of what it passes on. The trace of J
is Σp(1 - p) = 1 - Σp², n times the mean derivative of a probability by its own logit. The gradient of -ln p_t by the
logits, which a loss passes on, is p - e_t, with ‖p - e_t‖² = 1 - 2p_t + Σp²; its norm is averaged over t drawn from p.
Close to a one-hot p, cancellation leaves both norms an absolute accuracy of about 1e-8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def log_softmax(z: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, by the maximum-subtracted log-sum-exp; any float shape (..., n)."""
    shifted = z - z.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def softmax(z: np.ndarray) -> np.ndarray:
    """softmax over the last axis, shape (..., n); each slice sums to 1."""
    return np.asarray(np.exp(log_softmax(z)))


def entropy(log_p: np.ndarray) -> np.ndarray:
    """Shannon entropy -Σ p log p in nats."""
    return np.asarray(-(np.exp(log_p) * np.maximum(log_p, np.finfo(np.float64).min)).sum(-1))


def entropy_from_sums(total: np.ndarray, mean_logit: np.ndarray) -> np.ndarray:
    """The entropy of softmax(z), ln Σe^z - Σpz, in nats.

    Args:
        total: Σe^z.
        mean_logit: Σpz of the same z.
    """
    return np.asarray(np.log(total) - mean_logit)


def effective_number(entropy: np.ndarray) -> np.ndarray:
    """exp of the entropy in nats: the number of entries of a uniform row with this entropy."""
    return np.asarray(np.exp(entropy))


def entries_holding_half(weights: np.ndarray, total: np.ndarray | float = 1.0) -> np.ndarray:
    """The smallest number of entries that together hold half of the probability.

    Args:
        weights: (..., n) p times the total.
        total: (...,) what the weights sum to.
    """
    largest_first = np.sort(weights)[..., ::-1]
    return np.asarray((largest_first.cumsum(-1) < np.asarray(total)[..., None] / 2).sum(-1) + 1)


def share_below(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    """The share of entries whose probability lies below a threshold, from log-probabilities."""
    return lambda log_p: (log_p < np.log(threshold)).mean(-1)


def jacobian_norm(p: np.ndarray) -> np.ndarray:
    """Frobenius norm of the softmax Jacobian.

    It is 0 for a one-hot p, √(n-1)/n for an even one, and at most 1/√2 · 1/√2 = 1/2 (two entries of one half each).
    """
    return jacobian_norm_from_sums((p**2).sum(-1), (p**3).sum(-1))


def jacobian_norm_from_sums(sum_p2: np.ndarray, sum_p3: np.ndarray) -> np.ndarray:
    """Frobenius norm of the softmax Jacobian from Σp² and Σp³."""
    return np.asarray(np.sqrt(np.maximum(sum_p2 - 2 * sum_p3 + sum_p2**2, 0.0)))


def trace(p: np.ndarray) -> np.ndarray:
    """The trace of the softmax Jacobian."""
    return trace_from_sum((p**2).sum(-1))


def trace_from_sum(sum_p2: np.ndarray) -> np.ndarray:
    """The trace of the softmax Jacobian from Σp²."""
    return np.asarray(1 - sum_p2)


def gradient_norm(p: np.ndarray) -> np.ndarray:
    """‖p - e_t‖, averaged over t drawn from p."""
    return np.asarray((p * gradient_norms(p, (p**2).sum(-1, keepdims=True))).sum(-1))


def gradient_norms(p: np.ndarray, sum_p2: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """‖p - e_t‖ for each entry t of p, (..., n) to (..., n).

    Args:
        sum_p2: (..., 1) Σp².
        out: where to write them; may be p.
    """
    squared = np.multiply(p, -2, out=out)
    squared += 1 + sum_p2
    np.maximum(squared, 0, out=squared)
    return np.asarray(np.sqrt(squared, out=squared))


def even_gradient(n: np.ndarray) -> np.ndarray:
    """The mean gradient norm of a uniform (even) row of n entries, √(1 - 1/n).

    It is the largest there is: E‖p - e_t‖ ≤ √(1 - Σp²) by Jensen's inequality, and Σp² ≥ 1/n.
    """
    return np.asarray(np.sqrt(1 - 1 / n))


def even_jacobian(n: np.ndarray) -> np.ndarray:
    """The Jacobian's norm of an even row of n entries, √(n - 1)/n; most rows between even and one-hot have more."""
    return np.asarray(np.sqrt(n - 1) / n)


def even_trace(n: np.ndarray) -> np.ndarray:
    """The Jacobian's trace of an even row of n entries, the largest there is."""
    return np.asarray(1 - 1 / n)


def of_even(measure: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A measure of p as a share of its value for an even row, from log-probabilities."""
    return lambda log_p: measure(np.exp(log_p)) / measure(np.full(log_p.shape[-1], 1 / log_p.shape[-1]))
