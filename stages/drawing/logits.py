"""Figures of attention's logits in Model 5: what scaling does to them, and how normal they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.drawing.style import BLACK, BLUE, GREEN, ORANGE, RED, early_steps, small_multiples

SCALINGS = {"unscaled": ("unscaled", RED), "scaled": ("over √d, as trained", BLUE), "scaled_by_d": ("over d", GREEN)}
PANELS = {
    "effective_share": "effective share of the entries",
    "share_holding_half": "share holding half of the probability",
    "jacobian_norm": "‖softmax Jacobian‖",
    "loss": "cross-entropy (nats/token)",
}


def by_scaling(logits: pd.DataFrame, width: float) -> Figure:
    """What softmax does with logits scaled otherwise at inference, over steps, mean over blocks and seeds."""
    figure = Figure(figsize=(width, 0.72 * width), layout="constrained")
    for axes, (quantity, label) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS.items(), strict=True):
        for scaling, (name, colour) in SCALINGS.items():
            chosen = logits[(logits["quantity"] == quantity) & (logits["scaling"] == scaling)]
            line = chosen.groupby("step", as_index=False)[["mean", "low", "high"]].mean()
            axes.plot(line["step"], line["mean"], ".-", ms=4, lw=1.3, color=colour, label=name)
            axes.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.15, lw=0)
        early_steps(axes, int(logits["step"].max()), digits=(1,))
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0 if quantity != "loss" else None)
    for axes in figure.axes[2:]:
        axes.set_xlabel("step (updates)")
    figure.axes[0].legend(fontsize=8)
    figure.suptitle("Model 5's attention with its logits scaled otherwise at inference", fontsize=10)
    return figure


def distribution(histograms: pd.DataFrame, width: float) -> Figure:
    """The logits of each block, in their head's own mean and σ, at the first and the last snapshot."""
    blocks = sorted(histograms["block"].unique())
    figure, grid = small_multiples(len(blocks), width)
    first, last = histograms["step"].min(), histograms["step"].max()
    for axes, block in zip(grid.flat, blocks, strict=False):
        for step, colour in ((first, ORANGE), (last, BLUE)):
            part = histograms[(histograms["block"] == block) & (histograms["step"] == step)]
            total = part["count"].sum()
            inner = part[np.isfinite(part["left"]) & np.isfinite(part["right"])]
            middle, size = (inner["left"] + inner["right"]) / 2, inner["right"] - inner["left"]
            density = inner["count"] / total / size
            shown = density > 0
            axes.plot(middle[shown], density[shown], color=colour, lw=1.2, label=f"step {step}")
        axes.plot(middle, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), color=BLACK, lw=0.8, ls="--", label="normal")
        axes.set(yscale="log", ylim=(1e-5, 2))
        axes.set_title(f"block {block}", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("logit - mean, in σ")
    for axes in grid[:, 0]:
        axes.set_ylabel("density (log)")
    grid[0, 0].legend(fontsize=7)
    figure.suptitle("Attention's logits beside the normal distribution, one seed's run", fontsize=10)
    return figure
