"""What softmax does in rows of logits, by the formulas of `goldilocks/softmax/statistics.py`, a few passes for all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from goldilocks.softmax.statistics import (
    effective_number,
    entries_holding_half,
    entropy_from_sums,
    even_gradient,
    even_jacobian,
    gradient_norms,
    jacobian_norm_from_sums,
)

LEAST = np.float32(-87)  # its exponential is the smallest normal float32: nothing beside a sum of at least 1


class SoftmaxRows(NamedTuple):
    """Rows of softmax: the largest weight of each is 1, and p = weights / total."""

    weights: np.ndarray  # (R, K) float32
    total: np.ndarray  # (R,) float64
    entropy: np.ndarray  # (R,) in nats

    @classmethod
    def of(cls, logits: np.ndarray) -> SoftmaxRows:
        """Of logits (R, K) float32, -∞ where hidden."""
        shifted = np.maximum(logits - logits.max(-1, keepdims=True), LEAST)
        weights = np.exp(shifted)
        total = weights.sum(-1, dtype=np.float64)
        return cls(weights, total, entropy_from_sums(total, (weights * shifted).sum(-1) / total))

    def chosen(self, which: np.ndarray) -> SoftmaxRows:
        """Some of the rows."""
        return SoftmaxRows(*(values[which] for values in self))

    def statistics(self, seen: np.ndarray, negligible: float) -> dict[str, np.ndarray]:
        """What they do with gradients, and how they spread; of rows that see so many entries, (R,) each.

        Relative ones are multiples of an even row's; a probability below `negligible` counts as none.
        """
        q, total = self.weights, self.total
        square = q * q
        sum_p2, sum_p3 = square.sum(-1, dtype=np.float64) / total**2, (square * q).sum(-1, dtype=np.float64) / total**3
        rare = (q < (negligible * total[:, None]).astype(np.float32)).sum(-1) - (q.shape[-1] - seen)  # less the hidden
        gradient = np.vecdot(q, gradient_norms(q / total[:, None], sum_p2[:, None])) / total
        jacobian = jacobian_norm_from_sums(sum_p2, sum_p3)
        effective = effective_number(self.entropy)
        return {
            "keys": seen,
            "effective_keys": effective,
            "effective_share": effective / seen,
            "share_holding_half": entries_holding_half(q, total) / seen,
            "share_negligible": rare / seen,
            "jacobian_norm": jacobian,
            "relative_jacobian": jacobian / even_jacobian(seen),
            "relative_gradient": gradient / even_gradient(seen),
            "discrimination": seen / total,
        }
