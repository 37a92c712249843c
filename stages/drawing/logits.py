"""Figures of attention's logits in Model 5: what scaling does to them, and how normal they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.drawing.style import BLACK, BLUE, GREEN, ORANGE, RED, early_steps, small_multiples

OWN = "scaled"
SCALINGS = {"unscaled": ("unscaled", RED), OWN: ("over √d, as trained", BLUE), "scaled_by_d": ("over d", GREEN)}
PANELS = {
    "effective_share": "effective share of the entries",
    "share_holding_half": "share holding half of the probability",
    "jacobian_norm": "‖softmax Jacobian‖",
    "loss": "cross-entropy less that as trained (nats/token)",
}


def by_scaling(logits: pd.DataFrame, width: float) -> Figure:
    """What softmax does with logits scaled otherwise at inference, over steps, mean over blocks and seeds."""
    figure = Figure(figsize=(width, 0.75 * width), layout="constrained")
    for axes, (quantity, label) in zip(figure.subplots(2, 2, sharex=True).flat, PANELS.items(), strict=True):
        chosen = logits[logits["quantity"] == quantity]
        lines = chosen.groupby(["scaling", "step"], observed=True)[["mean", "low", "high"]].mean()
        for scaling, (name, colour) in SCALINGS.items():
            line = lines.loc[scaling]
            if quantity == "loss":
                axes.plot(line.index, line["mean"] - lines.loc[OWN]["mean"], ".-", ms=4, lw=1.3, color=colour)
                continue
            axes.plot(line.index, line["mean"], ".-", ms=4, lw=1.3, color=colour, label=name)
            axes.fill_between(line.index, line["low"], line["high"], color=colour, alpha=0.15, lw=0)
        if quantity != "loss":
            axes.set_ylim(bottom=0)
        early_steps(axes, int(logits["step"].max()), digits=(1,))
        axes.set_title(label, fontsize=9)
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
            inner = part[np.isfinite(part["left"]) & np.isfinite(part["right"])]
            middle, size = (inner["left"] + inner["right"]) / 2, inner["right"] - inner["left"]
            density = inner["count"] / part["count"].sum() / size
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
