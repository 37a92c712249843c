"""What softmax does inside Model 5, by head, on a fixed probe batch. (claims S5, S6, W9)

Everything here reads the model and changes nothing: no gradient, no random number. The model also runs with scalings
that it was not trained with, to measure what softmax then does and what that costs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from goldilocks.model5.model import Model5
from goldilocks.model5.products import multiply, split_heads
from goldilocks.model5.weight_stats import Row, bin_rows, histogram, shape
from goldilocks.softmax.scalings import EXPONENTS, OWN, OWN_FIRST
from goldilocks.softmax.statistics import (
    effective_number,
    entries_holding_half,
    entropy_from_sums,
    even_gradient,
    gradient_norms,
    jacobian_norm_from_sums,
)

SCALINGS = {name: EXPONENTS[name] for name in OWN_FIRST}
NEGLIGIBLE = 1e-6
CACHED = 2**16  # logits that a few arrays of their size fit the cache with
LEAST = np.float32(-87)  # exp of it, 1.6e-38, is the smallest normal float32: nothing beside a sum of at least 1
EDGES = np.linspace(-6, 6, 121)  # of the histogram of logits, in standard deviations


def exponentials(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unnormalised softmax of logits (…, R, K) float32, -∞ where hidden: exponentials, their row sums, and the entropy.

    The largest entry of a row is 1, so its sum is at least 1. Entropy is in nats. The exponentials are float32, and all
    that is computed from them is float64, since ‖J‖ is a small difference near a one-hot p.
    """
    rows = logits - logits.max(-1, keepdims=True)
    np.maximum(rows, LEAST, out=rows)  # hidden entries, too: they contribute nothing
    p = np.exp(rows)  # unnormalised
    total = p.sum(-1, dtype=np.float64)
    rows *= p
    return p, total, entropy_from_sums(total, rows.sum(-1) / total)  # -Σ p log p with log p = row - log total


def row_statistics(
    q: np.ndarray, total: np.ndarray, entropy: np.ndarray, seen: np.ndarray, negligible: float = NEGLIGIBLE
) -> dict[str, np.ndarray]:
    """Statistics of softmax rows, from the result of `exponentials` and the number of visible entries: each (…, R).

    The relative gradient is the mean norm of p - e_t, t drawn from p, over an even row's √(1 - 1/n); the discrimination
    is n times the largest probability.
    """
    square = q * q
    second, third = square.sum(-1, dtype=np.float64) / total**2, (square * q).sum(-1, dtype=np.float64) / total**3
    rare = (q < (negligible * total[..., None]).astype(np.float32)).sum(-1) - (q.shape[-1] - seen)
    norms = gradient_norms(q / total[..., None], second[..., None])
    gradient = np.vecdot(q, norms) / total  # hidden entries have weight 0
    return {
        "effective_share": effective_number(entropy) / seen,
        "share_holding_half": entries_holding_half(q, total) / seen,
        "share_negligible": rare / seen,
        "jacobian_norm": jacobian_norm_from_sums(second, third),
        "relative_gradient": gradient / even_gradient(seen),
        "discrimination": seen / total,
    }


def matrix_statistics(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of the softmax of causal logits (M, T, T) float32, -∞ where hidden: each value is (M,) float64.

    The first row sees one token and is left out. Entropy is a share of its maximum, log(visible tokens). The values of
    `row_statistics` are means over the rows that see at least half of the window, since "few of the entries" means
    nothing for a row of two.
    """
    length = logits.shape[-1]
    p, total, entropy = exponentials(logits[:, 1:])  # of (M, T - 1) rows
    visible = np.arange(2, length + 1)
    late = slice(max(length // 2 - 2, 0), None)
    found = row_statistics(p[:, late], total[:, late], entropy[:, late], visible[late])
    return {
        "normalised_entropy": (entropy / np.log(visible)).mean(1),
        "largest_probability": (1 / total).mean(1),
    } | {name: values.mean(1) for name, values in found.items()}


def matrix_moments(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Power means of the visible causal logits (M, T, T) float32, and the largest |logit|: each value is (M,)."""
    length = logits.shape[-1]
    shown = np.where(np.tri(length, dtype=bool), logits, np.float32(0)).reshape(len(logits), -1)
    wide = shown.astype(np.float64)
    square = wide * wide
    sums = (wide.sum(1), square.sum(1), np.vecdot(wide, square), np.vecdot(square, square))
    pairs = length * (length + 1) // 2
    return {f"power_{i}": total / pairs for i, total in enumerate(sums, 1)} | {
        "largest_logit": np.maximum(shown.max(1), -shown.min(1)).astype(np.float64)
    }


def shape_of_logits(*means_of_powers: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, σ, skewness and excess kurtosis from the means of powers."""
    return {f"logit_{name}": values for name, values in shape(*means_of_powers).items()}


def attention_statistics(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics by head of causal logits (B, H, T, T) float32, -∞ where hidden, and their softmax: each (H,) float64.

    They are means over the batch, except the largest logit. σ, skewness and excess kurtosis are over all logits of a
    head. Skewness and excess kurtosis of a constant are 0.
    """
    batch, heads, length, _ = logits.shape
    matrices = logits.reshape(-1, length, length)
    at_once = max(CACHED // length**2, 1)  # so that they stay in the cache
    groups = [matrices[start : start + at_once] for start in range(0, len(matrices), at_once)]
    found = [matrix_statistics(group) | matrix_moments(group) for group in groups]
    by_head = {name: np.concatenate([of[name] for of in found]).reshape(batch, heads) for name in found[0]}
    means = {name: values.mean(0) for name, values in by_head.items()}
    powers = [means.pop(f"power_{i}") for i in (1, 2, 3, 4)]
    return means | shape_of_logits(*powers) | {"largest_logit": by_head["largest_logit"].max(0)}


def row_variance(rows: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The variance of each row's visible entries, (…, R, K) float64 with 0 where hidden, to (…, R)."""
    variance: np.ndarray = (np.vecdot(rows, rows) - rows.sum(-1) ** 2 / visible) / (visible - 1)
    return variance


def cosines(q: Tensor, k: Tensor) -> dict[str, np.ndarray]:
    """Alignment of queries with visible keys, q and k (B, H, T, d), in rows of at least half a window: (H,) float64.

    `centred_cosine` is the root mean square of their cosines after each row's mean is subtracted, which does not change
    softmax. It is 1/√d for independent normal vectors. `own_cosine` is the mean cosine of a query and the key at its
    own position.
    """
    cosine = multiply(F.normalize(q, dim=-1), F.normalize(k, dim=-1).mT).tril().cpu().numpy()  # (B, H, T, T)
    length = cosine.shape[-1]
    late = slice(max(length // 2 - 1, 1), None)
    visible = np.arange(1, length + 1)[late]
    rows = cosine[:, :, late].astype(np.float64)
    variance = row_variance(rows, visible)
    own = cosine.diagonal(axis1=-2, axis2=-1)[..., late].astype(np.float64)
    return {"centred_cosine": np.sqrt(variance.mean((0, 2))), "own_cosine": own.mean((0, 2))}


def logit_histogram_rows(logits: np.ndarray, found: dict[str, np.ndarray], step: int, block: int) -> list[Row]:
    """Histogram of a block's visible logits (B, H, T, T), standardised by head."""
    visible = np.tri(logits.shape[-1], dtype=bool)
    counts = np.zeros(EDGES.size + 1, dtype=np.int64)
    for head, (mean, std) in enumerate(zip(found["logit_mean"], found["logit_std"], strict=True)):
        counts += histogram((logits[:, head][:, visible] - mean) / (std or 1.0), EDGES)
    return bin_rows(counts, EDGES, step=step, block=block)


@torch.no_grad()
def record_attention(model: Model5, step: int, windows: Tensor, scaling: str) -> dict[str, list[Row]]:
    """Rows of the table `attention`, and of `logit_histograms` for the model's own scaling.

    Args:
        windows: of tokens, (B, T + 1).
        scaling: the name of the scaling that the model runs with meanwhile.
    """
    rows: dict[str, list[Row]] = {"attention": [], "logit_histograms": []}
    with model.attention_exponent(SCALINGS[scaling]):
        x = model.embed(windows[:, :-1])
        for i, block in enumerate(model.blocks):
            qkv = block.attn.project(block.attention_input(x))
            logits = block.attn.logits(qkv).cpu().numpy()
            q, k, _ = split_heads(qkv, model.shape.heads)
            found = attention_statistics(logits) | cosines(q, k)
            for head in range(model.shape.heads):
                values = {name: float(values[head]) for name, values in found.items()}
                rows["attention"].append({"step": step, "scaling": scaling, "block": i, "head": head} | values)
            if scaling == OWN:
                rows["logit_histograms"] += logit_histogram_rows(logits, found, step, i)
            x = block.finish(x, block.attn.attend(qkv))
    return rows
