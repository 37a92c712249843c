"""Figures of Model 5's training: losses, weights and attention."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.drawing.style import BLUE, GREY, ORANGE, label_line, ordered_colours


def losses(dynamics: pd.DataFrame, guessing: float, width: float) -> Figure:
    """Train and test loss over steps, mean over seeds with the 95 % band; `guessing` is ln V in nats."""
    figure = Figure(figsize=(width, 0.45 * width), layout="constrained")
    axes = figure.subplots()
    axes.axhline(guessing, color=GREY, lw=1, ls=":")
    axes.annotate("guessing: ln V", (0.99, guessing), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    for quantity, colour, marker in (("train_loss", BLUE, ""), ("test_loss", ORANGE, "o")):
        part = dynamics[dynamics["quantity"] == quantity]
        axes.plot(part["step"], part["mean"], marker=marker, ms=4, lw=1.2, color=colour, label=quantity.split("_")[0])
        axes.fill_between(part["step"], part["low"], part["high"], color=colour, alpha=0.2, lw=0)
    axes.set(xlabel="step (updates)", ylabel="cross-entropy (nats/token)")
    axes.set_title(f"Loss of Model 5, {_seeds(dynamics)}")
    axes.legend()
    return figure


def by_block(dynamics: pd.DataFrame, quantity: str, label: str, title: str, width: float) -> Figure:
    """A quantity over steps, one line a block, mean over seeds with the 95 % band."""
    figure = Figure(figsize=(width, 0.5 * width), layout="constrained")
    axes = figure.subplots()
    part = dynamics[dynamics["quantity"] == quantity]
    blocks = sorted(part["block"].unique())
    for block, colour in zip(blocks, ordered_colours(len(blocks)), strict=True):
        line = part[part["block"] == block]
        axes.plot(line["step"], line["mean"], color=colour, lw=1.5)
        axes.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.12, lw=0)
    ends = part[part["step"] == part["step"].max()].set_index("block")["mean"]
    _label_ends(axes, float(part["step"].max()), ends)
    axes.set(xlabel="step (updates)", ylabel=label, title=f"{title}, {_seeds(dynamics)}")
    axes.margins(x=0.08)
    return figure


def _label_ends(axes: Axes, x: float, ends: pd.Series) -> None:
    """Name each block's line at its end, pushed apart where lines end close together."""
    low, high = axes.get_ylim()
    gap = 0.055 * (high - low)
    colours = dict(zip(sorted(ends.index), ordered_colours(len(ends)), strict=True))
    previous = -np.inf
    for block, value in ends.sort_values().items():
        previous = max(value, previous + gap)
        label_line(axes, x, previous, f"block {block}", colours[block])


def histograms(table: pd.DataFrame, linear_std: float, width: float) -> Figure:
    """QKV histograms by block, one line a snapshot from dark (start) to light (end), counts on a log scale."""
    merged = table[table["part"] == "qkv"]
    blocks = sorted(merged["block"].unique())
    columns = min(3, len(blocks))
    rows = -(-len(blocks) // columns)
    figure = Figure(figsize=(width, 0.3 * width * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    steps = sorted(merged["step"].unique())
    colours = ordered_colours(len(steps))
    for axes, block in zip(grid.flat, blocks, strict=False):
        of_block = merged[merged["block"] == block]
        for step, colour in zip(steps, colours, strict=True):
            part = of_block[of_block["step"] == step]
            inner = part[np.isfinite(part["left"]) & np.isfinite(part["right"])]
            axes.plot((inner["left"] + inner["right"]) / 2, inner["count"], color=colour, lw=0.9)
        outside = part[~(np.isfinite(part["left"]) & np.isfinite(part["right"]))]["count"].sum()
        axes.set_title(f"block {block}; {outside:,} beyond at the end", fontsize=8)
        axes.set_yscale("log")
    for axes in grid.flat[len(blocks) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("weight")
    for axes in grid[:, 0]:
        axes.set_ylabel("weights (log)")
    figure.suptitle(
        f"QKV weights, step {steps[0]} (dark) to {steps[-1]} (light); start: N(0, {linear_std}²)", fontsize=10
    )
    return figure


def _seeds(dynamics: pd.DataFrame) -> str:
    seeds = int(dynamics["seeds"].max())
    return "one seed" if seeds == 1 else f"mean of {seeds} seeds, 95 % band"
