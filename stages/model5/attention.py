"""What softmax does inside Model 5, by head, on a fixed probe batch. (claim W9)

Everything here looks at the model and changes nothing: no gradient, no random number.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from stages.model5.model import Model5
from stages.model5.snapshots import Row

CACHED = 2**16  # logits that a few arrays of their size fit the cache with
LEAST = np.float32(-87)  # exp of it, 1.6e-38, is the smallest normal float32: nothing beside a sum of at least 1


def matrix_statistics(logits: np.ndarray) -> dict[str, np.ndarray]:
    """What softmax does with causal logits (M, T, T) float32, -∞ where hidden: each value is (M,) float64.

    In float32 up to the sums over a row, the rest in float64.
    """
    length = logits.shape[-1]
    rows = logits[:, 1:] - logits[:, 1:].max(-1, keepdims=True)
    np.maximum(rows, LEAST, out=rows)  # hidden entries too: they add nothing
    p = np.exp(rows)
    total = p.sum(-1).astype(np.float64)
    p *= rows
    entropy = np.log(total) - p.sum(-1) / total  # -Σ p log p with log p = row - log total, (M, T - 1)
    shown = np.where(np.tri(length, dtype=bool), logits, np.float32(0)).reshape(len(logits), -1)
    wide = shown.astype(np.float64)
    pairs = length * (length + 1) // 2
    return {
        "normalised_entropy": (entropy / np.log(np.arange(2, length + 1))).mean(1),
        "largest_probability": (1 / total).mean(1),
        "mean": wide.sum(1) / pairs,
        "mean_square": np.vecdot(wide, wide) / pairs,
        "largest_logit": np.maximum(shown.max(1), -shown.min(1)).astype(np.float64),
    }


def attention_statistics(logits: np.ndarray, threads: int = 1) -> dict[str, np.ndarray]:
    """What softmax does with causal logits (B, H, T, T) float32, -∞ where hidden, by head: each value is (H,) float64.

    Entropy is taken as a share of its maximum, log(visible tokens); the first row sees one token and is left out. A few
    matrices at a time, so that they stay in the processor's cache, and in NumPy: torch's multi-threaded exponential was
    seen to give other digits once in a while. The result does not depend on the number of threads.
    """
    batch, heads, length, _ = logits.shape
    matrices = logits.reshape(-1, length, length)
    at_once = max(CACHED // length**2, 1)
    groups = [matrices[start : start + at_once] for start in range(0, len(matrices), at_once)]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(matrix_statistics, groups))
    by_head = {name: np.concatenate([group[name] for group in found]).reshape(batch, heads) for name in found[0]}
    mean, square = by_head["mean"].mean(0), by_head["mean_square"].mean(0)
    return {
        "normalised_entropy": by_head["normalised_entropy"].mean(0),
        "largest_probability": by_head["largest_probability"].mean(0),
        "logit_std": np.sqrt(np.maximum(square - mean**2, 0.0)),
        "largest_logit": by_head["largest_logit"].max(0),
    }


@torch.no_grad()
def attention_rows(model: Model5, step: int, windows: Tensor, threads: int = 1) -> list[Row]:
    """The `attention` table's rows of one snapshot, on token windows (B, T + 1)."""
    x = model.embed(windows[:, :-1])
    rows = []
    for i, block in enumerate(model.blocks):
        found = attention_statistics(block.attn.logits(block.ln_1(x)).cpu().numpy(), threads)
        for head in range(model.shape.heads):
            values = {name: float(values[head]) for name, values in found.items()}
            rows.append({"step": step, "block": i, "head": head} | values)
        if i + 1 < len(model.blocks):
            x = block(x)
    return rows
