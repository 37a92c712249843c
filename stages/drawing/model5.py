"""Figures of Model 5's training: losses, weights and attention."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.drawing.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    early_steps,
    label_line,
    ordered_colours,
    small_multiples,
)


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


def by_block(
    dynamics: pd.DataFrame, quantities: dict[str, str], title: str, width: float, early: bool = False, log: bool = False
) -> Figure:
    """Quantities over steps, one line a block, mean over seeds with the 95 % band; a panel each.

    Args:
        quantities: their names in the table and labels of their axes.
        early: whether the step axis opens up the first steps.
        log: whether the quantities, which are positive, have a logarithmic axis; bands are cut off below the lines.
    """
    figure = Figure(figsize=(width, (0.4 * len(quantities) + 0.1) * width), layout="constrained")
    panels = figure.subplots(len(quantities), squeeze=False)[:, 0]
    for axes, (quantity, label) in zip(panels, quantities.items(), strict=True):
        _lines_by_block(axes, dynamics[dynamics["quantity"] == quantity], early, log)
        axes.set_ylabel(label)
    panels[0].set_title(f"{title}, {_seeds(dynamics)}")
    panels[-1].set_xlabel("step (updates)")
    return figure


def _lines_by_block(axes: Axes, part: pd.DataFrame, early: bool, log: bool) -> None:
    """One quantity over steps, a line and a band for each block, named at their ends."""
    blocks = sorted(part["block"].unique())
    for block, colour in zip(blocks, ordered_colours(len(blocks)), strict=True):
        line = part[part["block"] == block]
        axes.plot(line["step"], line["mean"], color=colour, lw=1.5)
        axes.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.12, lw=0)
    axes.margins(x=0.08)
    last = int(part["step"].max())
    if early:
        early_steps(axes, last)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(part["mean"].min() / 2, part["high"].max() * 1.1)
    _label_ends(axes, last, part[part["step"] == last].set_index("block")["mean"])


def _label_ends(axes: Axes, x: float, ends: pd.Series) -> None:
    """Name each block's line at its end, pushed apart where lines end close together."""
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_ylim()))
    gap = 0.055 * (high - low)
    colours = dict(zip(sorted(ends.index), ordered_colours(len(ends)), strict=True))
    previous = -np.inf
    for block, value in ends.sort_values().items():
        previous = max(float(scale.transform(np.array([value]))[0]), previous + gap)
        y = float(scale.inverted().transform(np.array([previous]))[0])
        label_line(axes, x, y, f"block {block}", colours[block])


def histograms(table: pd.DataFrame, linear_std: float, width: float) -> Figure:
    """QKV histograms by block, one line a snapshot from dark (start) to light (end), counts on a log scale."""
    merged = table[table["part"] == "qkv"]
    blocks = sorted(merged["block"].unique())
    figure, grid = small_multiples(len(blocks), width)
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
    _label_edges(grid, "weight", "weights (log)")
    figure.suptitle(
        f"QKV weights, step {steps[0]} (dark) to {steps[-1]} (light); start: N(0, {linear_std}²)", fontsize=10
    )
    return figure


def std_by_part(dynamics: pd.DataFrame, width: float) -> Figure:
    """σ of Q, K and V apart over steps, a panel a block, mean over seeds with the 95 % band."""
    parts = {name: dynamics[dynamics["quantity"] == name] for name in ("std_q", "std_k", "std_v")}
    blocks = sorted(parts["std_q"]["block"].unique())
    figure, grid = small_multiples(len(blocks), width)
    for axes, block in zip(grid.flat, blocks, strict=False):
        for (name, part), colour in zip(parts.items(), (BLUE, ORANGE, GREEN), strict=True):
            line = part[part["block"] == block]
            axes.plot(line["step"], line["mean"], color=colour, lw=1.3)
            axes.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
            if block == blocks[0]:
                label_line(axes, line["step"].iloc[-1], line["mean"].iloc[-1], name[-1].upper(), colour)
        axes.set_title(f"block {block}", fontsize=8)
    _label_edges(grid, "step (updates)", "standard deviation")
    figure.suptitle(f"Q, K and V widen differently, {_seeds(dynamics)}", fontsize=10)
    return figure


def by_head(attention: pd.DataFrame, quantity: str, label: str, lowest: bool, width: float) -> Figure:
    """A quantity over steps, a panel a block and a line a head; the one that ends lowest, or highest, is named."""
    blocks = sorted(attention["block"].unique())
    figure, grid = small_multiples(len(blocks), width)
    last = int(attention["step"].max())
    for axes, block in zip(grid.flat, blocks, strict=False):
        of_block = attention[attention["block"] == block]
        ends = of_block[of_block["step"] == last].set_index("head")[quantity]
        named = ends.idxmin() if lowest else ends.idxmax()
        for head, line in of_block.groupby("head"):
            colour, above = (RED, 3) if head == named else (GREY, 2)
            axes.plot(line["step"], line[quantity], color=colour, lw=1, zorder=above)
        axes.set_title(f"block {block}: head {named} ends {'lowest' if lowest else 'highest'}", fontsize=8, color=RED)
        early_steps(axes, last, digits=(1,))
    _label_edges(grid, "step (updates)", label)
    figure.suptitle("Every head of one seed's run", fontsize=10)
    return figure


def _label_edges(grid: np.ndarray, xlabel: str, ylabel: str) -> None:
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)


def _seeds(dynamics: pd.DataFrame) -> str:
    seeds = int(dynamics["seeds"].max())
    return "one seed" if seeds == 1 else f"mean of {seeds} seeds, 95 % band"
