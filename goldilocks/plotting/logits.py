"""Figures of attention's logits in Model 5: the effect of scaling, and how normal they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from goldilocks.plotting.palette import BLACK, ENDS, SCALINGS
from goldilocks.plotting.style import (
    block_panels,
    early_steps,
    headline,
    key,
    label_edges,
    line_with_band,
    name_ends,
    subplots,
)
from goldilocks.softmax.scalings import FACTORS, OWN

PANELS = {
    "effective_share": "effective share",
    "share_holding_half": "share holding half",
    "jacobian_norm": "‖softmax Jacobian‖",
    "logit_std": "σ of the logits",
}


def by_scaling(logits: pd.DataFrame) -> Figure:
    """Softmax of logits with each scaling at inference, over steps, mean over blocks and seeds."""
    figure, panels = subplots(0.8, 2, 2, sharex=True)
    last = int(logits["step"].max())
    for axes, (quantity, label) in zip(panels.flat, PANELS.items(), strict=True):
        chosen = logits[logits["quantity"] == quantity]
        lines = chosen.groupby(["scaling", "step"], observed=True)[["mean", "low", "high"]].mean().reset_index("step")
        ends = {}
        for scaling, colour in SCALINGS.items():
            ends[FACTORS[scaling]] = line_with_band(axes, lines.loc[[scaling]], colour, 0.15)
        axes.set_ylim(bottom=0)
        if quantity == "logit_std":
            axes.set_yscale("symlog", linthresh=1)
        axes.set_ylabel(label)
        name_ends(axes, ends)
    early_steps(panels[0, 0], last, digits=(1,))
    for axes in panels[1]:
        axes.set_xlabel("step (updates)")
    half = logits[(logits["quantity"] == "share_holding_half") & (logits["step"] == last)]
    share = half.groupby("scaling", observed=True)["mean"].mean()
    return headline(
        figure,
        f"Half of the attention ends in {100 * share[OWN]:.0f} % of the entries, "
        f"unscaled in {100 * share['unscaled']:.0f} %",
        "Model 5, trained with 1/√d; its logits times 1, 1/√d or 1/d at inference. Mean of blocks and seeds; "
        "bands: 95 % intervals over seeds.",
        "Effective share of the entries, share that holds half of the probability, norm of softmax's Jacobian and "
        "standard deviation of the logits, over steps.",
    )


def distribution(histograms: pd.DataFrame) -> Figure:
    """The logits of each block, standardised by head, at the first and the last snapshot."""
    figure, grid, panels = block_panels(histograms)
    first, last = histograms["step"].min(), histograms["step"].max()
    for axes, _, of_block in panels:
        for step, colour in zip((first, last), ENDS, strict=True):
            part = of_block[of_block["step"] == step]
            inner = part[np.isfinite(part["left"]) & np.isfinite(part["right"])]
            middle, size = (inner["left"] + inner["right"]) / 2, inner["right"] - inner["left"]
            density = inner["count"] / part["count"].sum() / size
            shown = density > 0
            axes.plot(middle[shown], density[shown], color=colour, lw=1.2)
        axes.plot(middle, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), color=BLACK, lw=0.8, ls="--")
    label_edges(grid, "(logit - mean) / σ", "density (per σ)")
    names = {f"— step {first}": ENDS[0], f"— step {last}": ENDS[1], "-- normal": BLACK}
    grid[0, 0].set(yscale="log", ylim=(1e-5, 200))
    key(grid[0, 0], names, "upper left")
    return headline(
        figure,
        f"Attention's logits at step {first} and step {last} beside the normal distribution",
        "One seed's run; logits of all heads of a block, each in its own mean and σ.",
    )
