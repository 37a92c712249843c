"""Scaling as a sampling temperature: softmax(z/T) as a power of softmax(z), and as frequencies of draws.

By the Gumbel-max rule, argmax of z + T·g with standard Gumbel g follows softmax(z/T) (Gumbel 1954).
"""

from __future__ import annotations

import numpy as np

from goldilocks.core import rng


def tempered(log_p: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), renormalised over the last axis, from log-probabilities (p itself may have underflowed to 0)."""
    powered = np.exp(log_p / temperature)
    return np.asarray(powered / powered.sum(-1, keepdims=True))


def sampled_counts(z: np.ndarray, temperature: float, samples: int, root_seed: int) -> np.ndarray:
    """How often each entry of each row of z (rows, n) wins argmax(z + T·g) in `samples` draws: (rows, n).

    Each row has a stream of its own.
    """
    counts = np.zeros(z.shape, dtype=np.int64)
    for row, logits in enumerate(z):
        stream = rng.generator(root_seed, "softmax/gumbel", row)
        for start in range(0, samples, 10_000):
            noise = stream.gumbel(size=(min(10_000, samples - start), logits.size))
            counts[row] += np.bincount((logits + temperature * noise).argmax(-1), minlength=logits.size)
    return counts


def reduced_chi_square(counts: np.ndarray, p: np.ndarray) -> tuple[float, int]:
    """Pearson's χ² of counts (rows, n) against p (rows, n) over its degrees of freedom, and the degrees of freedom.

    The first is about 1 if p is true.

    In each row the entries that expect fewer than five counts, but never the likeliest, are pooled, with more of the
    rarest if the pool expects fewer than five. A pool that p makes impossible counts as one in 10⁹, so that the
    statistic stays finite.
    """
    total, degrees = 0.0, 0
    for observed, probability in zip(counts, p, strict=True):
        order = probability.argsort()
        expected = probability[order] * observed.sum()
        rare = max(int((expected < 5).sum()) - 1, int(np.searchsorted(expected.cumsum(), 5)))
        pool = min(rare, expected.size - 2)
        e = np.maximum(np.append(expected[: pool + 1].sum(), expected[pool + 1 :]), 1e-9 * observed.sum())
        o = np.append(observed[order][: pool + 1].sum(), observed[order][pool + 1 :])
        total += float(((o - e) ** 2 / e).sum())
        degrees += o.size - 1
    return total / max(degrees, 1), degrees
