"""Statistics of QKV weights and their updates, by block, by part and by head. (claims W5-W8)

Everything here is a pure function of the weights, in NumPy: no random number. A QKV weight has the rows of Q, then K,
then V; in each part, head h has the rows h · D/H … (h + 1) · D/H. So with N = 3 · H, (3 · D, D) reshapes to
(N, D/H, D): the heads of Q, of K and of V. Statistics are given for these N heads, then for Q, K and V, then for the
fused matrix: N + 4 values. In models whose heads share keys and values, K and V have fewer heads: `Heads` has the
number of each, and N is their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from goldilocks.model5.spectral import spectral_norm

if TYPE_CHECKING:
    from goldilocks.model5.model import Model5

QUANTILES = (1, 5, 25, 50, 75, 95, 99)
PARTS = ("q", "k", "v")
MERGED = "qkv"
ALL_HEADS = -1
Row = dict[str, Any]
Weights = Mapping[str, np.ndarray]
Heads = int | tuple[int, int, int]  # of Q, K and V each, or of Q, of K and of V


def snapshot_steps(steps: int, every: int) -> list[int]:
    """The steps among 0 … steps - 1 that get a snapshot: multiples of `every`, and before the first 1, 2, 4, 8, ….

    The weights move fastest at the start.
    """
    early = {2**i for i in range(min(every, steps).bit_length())}
    return sorted({step for step in early if step < steps} | set(range(0, steps, every)))


def qkv_weights(model: Model5) -> dict[str, np.ndarray]:
    """A copy of every block's QKV weight: {"blocks.<i>.attn.qkv.weight": (3 · width, width) float32}."""
    return {
        f"blocks.{i}.attn.qkv.weight": block.attn.qkv.weight.detach().cpu().numpy().copy()
        for i, block in enumerate(model.blocks)
    }


def qkv_gradients(model: Model5) -> dict[str, np.ndarray]:
    """The gradient of every block's QKV weight, by the weight's name; not a copy."""
    gradients = {f"blocks.{i}.attn.qkv.weight": block.attn.qkv.weight.grad for i, block in enumerate(model.blocks)}
    return {name: gradient.cpu().numpy() for name, gradient in gradients.items() if gradient is not None}


def counts(heads: Heads) -> tuple[int, int, int]:
    """The number of heads of Q, of K and of V."""
    return (heads, heads, heads) if isinstance(heads, int) else heads


def by_part(by_head: np.ndarray, heads: Heads, axis: int = 0) -> list[np.ndarray]:
    """Values by head, N of them along an axis, split into those of Q, of K and of V."""
    return np.split(by_head, list(accumulate(counts(heads)))[:2], axis)


def members(heads: Heads) -> list[tuple[str, int]]:
    """The part and head of each of a statistic's N + 4 values; head -1 means all heads."""
    by_head = [(part, head) for part, n in zip(PARTS, counts(heads), strict=True) for head in range(n)]
    return by_head + [(part, ALL_HEADS) for part in (*PARTS, MERGED)]


def with_totals(by_head: np.ndarray, heads: Heads) -> np.ndarray:
    """Sums by head (…, N), followed by the sums of Q, K and V and the total: (…, N + 4)."""
    parts = np.stack([part.sum(-1) for part in by_part(by_head, heads, -1)], -1)
    return np.concatenate([by_head, parts, parts.sum(-1, keepdims=True)], axis=-1)


def squares(by_head: np.ndarray, heads: Heads) -> np.ndarray:
    """Sums of squares of (N, n) float64 by head, part and of all: (N + 4,)."""
    return with_totals(np.vecdot(by_head, by_head), heads)


def shape(a1: np.ndarray, a2: np.ndarray, a3: np.ndarray, a4: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, σ, skewness and excess kurtosis m₄/m₂² - 3 from the means of powers; the latter two of a constant are 0."""
    m2 = np.maximum(a2 - a1**2, 0.0)
    m3 = a3 - 3 * a1 * a2 + 2 * a1**3
    m4 = a4 - 4 * a1 * a3 + 6 * a1**2 * a2 - 3 * a1**4
    return {
        "mean": a1,
        "std": np.sqrt(m2),
        "skewness": np.divide(m3, m2**1.5, out=np.zeros_like(m3), where=m2 > 0),
        "excess_kurtosis": np.divide(m4, m2**2, out=np.full_like(m4, 3.0), where=m2 > 0) - 3,
    }


def moments(by_head: np.ndarray, heads: Heads) -> dict[str, np.ndarray]:
    """Mean, σ and excess kurtosis of (N, n) float64 by head, part and of all.

    Power sums add up over heads; taken about the mean over all heads, they lose no digits.
    """
    centre = by_head.mean()
    x = by_head - centre
    y = x * x
    sums = with_totals(np.stack([x.sum(1), y.sum(1), np.vecdot(x, y), np.vecdot(y, y)]), heads)
    found = shape(*(sums / with_totals(np.full(len(x), x.shape[1]), heads)))
    return {name: found[name] for name in ("std", "mean", "excess_kurtosis")} | {"mean": centre + found["mean"]}


def order_statistics(by_head: np.ndarray, heads: Heads, tail: float) -> dict[str, np.ndarray]:
    """Tail mass beyond ±tail, quantiles (linearly interpolated) and extremes of (N, n) float32."""
    rows: list[dict[str, np.ndarray]] = []
    beyond = np.float32(tail)
    beyond = np.nextafter(beyond, np.float32(0)) if beyond > tail else beyond  # |x| > tail, compared in float32
    parts = [part.reshape(1, -1) for part in by_part(by_head, heads)]
    for group in (by_head, *parts, by_head.reshape(1, -1)):
        x = np.sort(group, axis=1)
        n = x.shape[1]
        inside = [row.searchsorted(beyond, "right") - row.searchsorted(-beyond, "left") for row in x]
        position = np.array(QUANTILES) / 100 * (n - 1)
        left = np.floor(position).astype(int)
        low, high = x[:, left].astype(np.float64), x[:, np.minimum(left + 1, n - 1)].astype(np.float64)
        quantiles = low + (high - low) * (position - left)  # (count, quantiles)
        rows.append(
            {"tail_mass": 1 - np.array(inside) / n}
            | {f"q{percent:02d}": values for percent, values in zip(QUANTILES, quantiles.T, strict=True)}
            | {"min": x[:, 0], "max": x[:, -1]}
        )
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def spectral_norms(by_head: np.ndarray, heads: Heads) -> np.ndarray:
    """‖W‖₂ of each head's (D/H, D) matrix, of Q, K and V, and of the fused matrix, from (N, D/H, D) float64."""
    width = by_head.shape[-1]
    parts = [part.reshape(-1, width) for part in by_part(by_head, heads)]
    grams = [part.T @ part for part in parts]
    of_heads = by_head @ by_head.transpose(0, 2, 1)  # (N, D/H, D/H)
    return np.array([spectral_norm(gram) for gram in (*of_heads, *grams, grams[0] + grams[1] + grams[2])])


def weight_statistics(weight: np.ndarray, initial: np.ndarray, heads: Heads, tail: float) -> dict[str, np.ndarray]:
    """The `weights` table's statistics of one block's (3 · D, D) weight: each value is (N + 4,).

    The stable rank ‖W‖_F²/‖W‖₂² is the number of directions that carry the matrix (Rudelson & Vershynin 2007); the
    cosine is that of W and the initial W as vectors.
    """
    total = sum(counts(heads))
    x, x0 = (matrix.astype(np.float64).reshape(total, -1) for matrix in (weight, initial))
    energy, initial_energy = squares(x, heads), squares(x0, heads)
    both = np.sqrt(energy * initial_energy)
    overlap = with_totals(np.vecdot(x, x0), heads)
    spectral = spectral_norms(x.reshape(total, -1, weight.shape[1]), heads)
    return {
        **moments(x, heads),
        **order_statistics(weight.reshape(total, -1), heads, tail),
        "frobenius_norm": np.sqrt(energy),
        "spectral_norm": spectral,
        "stable_rank": np.divide(energy, spectral**2, out=np.zeros_like(energy), where=spectral != 0),
        "cosine_to_initial": np.divide(overlap, both, out=np.zeros_like(both), where=both != 0),
    }


def table_rows(of_blocks: Iterable[dict[str, np.ndarray]], heads: int, step: int) -> list[Row]:
    """Rows (step, block, part, head, …) of the statistics of each block."""
    return [
        {"step": step, "block": block, "part": part, "head": head} | dict(zip(of_block, values, strict=True))
        for block, of_block in enumerate(of_blocks)
        for (part, head), *values in zip(members(heads), *(x.tolist() for x in of_block.values()), strict=True)
    ]


def weight_rows(weights: Weights, initial: Weights, heads: int, step: int, tail: float) -> list[Row]:
    """The `weights` table's rows of one snapshot.

    Args:
        weights: QKV weights (3 · width, width) of the blocks in order.
        initial: those before the first update, under the same names.
        tail: the |weight| beyond which a weight lies in the tail.
    """
    found = (weight_statistics(weight, initial[name], heads, tail) for name, weight in weights.items())
    return table_rows(found, heads, step)


def update_rows(before: Weights, after: Weights, gradients: Weights, heads: int, step: int) -> list[Row]:
    """The `updates` table's rows of the update made from the weights after `step` updates.

    Args:
        before: QKV weights W_s after `step` updates.
        after: W_{s+1}, after one more.
        gradients: of the loss, at W_s.
    """

    def statistics(name: str) -> dict[str, np.ndarray]:
        old, new, gradient = (of[name].astype(np.float64).reshape(3 * heads, -1) for of in (before, after, gradients))
        size, moved = np.sqrt(squares(old, heads)), np.sqrt(squares(new - old, heads))
        ratio = np.divide(moved, size, out=np.zeros_like(size), where=size != 0)
        return {"gradient_norm": np.sqrt(squares(gradient, heads)), "update_ratio": ratio}

    return table_rows(map(statistics, before), heads, step)


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts in (-∞, e₀), [e₀, e₁), …, [eₙ, ∞): they add up to the number of values."""
    rounded = edges.astype(values.dtype)
    exact = np.where(rounded < edges, np.nextafter(rounded, np.inf, dtype=values.dtype), rounded)  # x < e, in x's type
    below = np.sort(values, axis=None).searchsorted(exact, "left")
    return np.diff(below, prepend=0, append=values.size)


def bin_rows(counts: np.ndarray, edges: np.ndarray, **of: Any) -> list[Row]:
    """Rows (…, bin, left, right, count) of the result of `histogram`."""
    ends = pairwise([-np.inf, *edges.tolist(), np.inf])
    bins = enumerate(zip(ends, counts.tolist(), strict=True))
    return [of | {"bin": i, "left": left, "right": right, "count": count} for i, ((left, right), count) in bins]


def histogram_rows(weights: Weights, step: int, edges: np.ndarray) -> list[Row]:
    """The `histograms` table's rows of one snapshot."""
    rows = []
    for block, weight in enumerate(weights.values()):
        of_parts = np.array([histogram(part, edges) for part in np.split(weight, 3)])
        for part, counts_of_part in zip((*PARTS, MERGED), [*of_parts, of_parts.sum(0)], strict=True):
            rows += bin_rows(counts_of_part, edges, step=step, block=block, part=part)
    return rows
