"""What is recorded of Model 5's weights and attention on the way. (claims W5-W9)

Everything here looks at the model and changes nothing: no gradient, no random number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.common.statistics import excess_kurtosis
from stages.model5.model import Model5

QUANTILES = (1, 5, 25, 50, 75, 95, 99)
Row = dict[str, Any]


def qkv_weights(model: Model5) -> dict[str, np.ndarray]:
    """A copy of every block's QKV weight: {"blocks.<i>.attn.qkv.weight": (3 · width, width) float32}."""
    return {
        f"blocks.{i}.attn.qkv.weight": block.attn.qkv.weight.detach().numpy().copy()
        for i, block in enumerate(model.blocks)
    }


def parts(weight: np.ndarray) -> dict[str, np.ndarray]:
    """Q, K and V's rows of a (3 · width, width) QKV weight, and all of it."""
    q, k, v = np.split(weight, 3)
    return {"q": q, "k": k, "v": v, "qkv": weight}


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts in (-∞, e₀), [e₀, e₁), …, [eₙ, ∞): they add up to the number of values."""
    return np.bincount(np.searchsorted(edges, values.ravel(), side="right"), minlength=edges.size + 1)


def weight_rows(model: Model5, step: int, tail: float) -> list[Row]:
    """The `weights` table's rows of one snapshot; `tail` is the |weight| beyond which a weight lies in the tail."""
    rows = []
    for block, weight in enumerate(qkv_weights(model).values()):
        for part, values in parts(weight).items():
            x = values.astype(np.float64)
            quantiles = np.percentile(x, QUANTILES)
            rows.append(
                {
                    "step": step,
                    "block": block,
                    "part": part,
                    "std": x.std(),
                    "mean": x.mean(),
                    "excess_kurtosis": excess_kurtosis(x),
                    "tail_mass": (np.abs(x) > tail).mean(),
                    **{f"q{percent:02d}": value for percent, value in zip(QUANTILES, quantiles, strict=True)},
                    "min": x.min(),
                    "max": x.max(),
                }
            )
    return rows


def histogram_rows(model: Model5, step: int, edges: np.ndarray) -> list[Row]:
    """The `histograms` table's rows of one snapshot."""
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    rows = []
    for block, weight in enumerate(qkv_weights(model).values()):
        for part, values in parts(weight).items():
            for i, count in enumerate(histogram(values, edges)):
                row = {"bin": i, "left": bounds[i], "right": bounds[i + 1], "count": count}
                rows.append({"step": step, "block": block, "part": part} | row)
    return rows


def attention_statistics(logits: np.ndarray) -> dict[str, np.ndarray]:
    """What softmax does with causal logits (B, H, T, T), -∞ where hidden, by head: each value is (H,).

    Entropy is taken as a share of its maximum, log(visible tokens); the first row sees one token and is left out.
    NumPy in float64, since torch's multi-threaded exponential was seen to give other digits once in a while.
    """
    visible = np.isfinite(logits)
    shown = logits[:, :, np.tri(logits.shape[-1], dtype=bool)]  # (B, H, visible pairs)
    shifted = logits[:, :, 1:].astype(np.float64) - logits[:, :, 1:].max(-1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(-1, keepdims=True)
    p /= total
    # -Σ p log p with log p = shifted - log total; hidden entries have p = 0 and add nothing
    entropy = np.log(total[..., 0]) - (p * np.where(visible[:, :, 1:], shifted, 0.0)).sum(-1)  # (B, H, T - 1)
    return {
        "normalised_entropy": (entropy / np.log(np.arange(2, logits.shape[-1] + 1))).mean((0, 2)),
        "largest_probability": p.max(-1).mean((0, 2)),
        "logit_std": shown.astype(np.float64).std((0, 2)),
        "largest_logit": np.abs(shown).max((0, 2)),
    }


@torch.no_grad()
def attention_rows(model: Model5, step: int, windows: Tensor) -> list[Row]:
    """The `attention` table's rows of one snapshot, on token windows (B, T + 1)."""
    x = model.embed(windows[:, :-1])
    rows = []
    for i, block in enumerate(model.blocks):
        found = attention_statistics(block.attn.logits(block.ln_1(x)).numpy())
        for head in range(model.shape.heads):
            values = {name: float(values[head]) for name, values in found.items()}
            rows.append({"step": step, "block": i, "head": head} | values)
        x = block(x)
    return rows
