"""Figures of Model 5's training: losses, weights and attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from goldilocks.plotting.palette import BLACK, GREY, LOSSES, MATRICES, RED
from goldilocks.plotting.style import (
    Colour,
    block_panels,
    early_steps,
    format_number,
    headline,
    key,
    label_edges,
    line_with_band,
    name_ends,
    ordered_colours,
    subplots,
)

SNAPSHOTS = 6  # whose histograms are shown; more can't be told apart
STEPS = "step (updates)"
BY_BLOCK: dict[str, tuple[Any, ...]] = {
    "std_by_block": ("σ of the QKV weights", {"std": "σ of the QKV weights"}),
    "kurtosis_by_block": ("Excess kurtosis of the QKV weights", {"excess_kurtosis": "excess kurtosis"}),
    "norms_by_block": (
        "Spectral norm of the QKV weights",
        {"spectral_norm": "spectral norm ‖W‖₂", "stable_rank": "stable rank ‖W‖²/‖W‖₂²"},
        True,
    ),
    "cosine_to_initial": (
        "Cosine to the initial QKV weights", {"cosine_to_initial": "cosine to initial weights"}, True,
    ),
    "updates_by_block": (
        "Relative update of the QKV weights",
        {"update_ratio": "‖update‖ / ‖W‖", "gradient_norm": "gradient norm (nats/token)"},
        True,
        True,
    ),
    "attention_entropy": ("Attention entropy", {"normalised_entropy": "entropy / its maximum"}, True),
}  # fmt: skip
"""The figures that `by_block` draws, by name: all its arguments but the table."""


def losses(dynamics: pd.DataFrame, guessing: float) -> Figure:
    """Train and test loss over steps, mean over seeds with the 95 % band, and the losses of guessing and counting.

    Args:
        guessing: ln V in nats.
    """
    figure, axes = subplots(0.55)
    ends: dict[str, tuple[float, Colour]] = {"guessing: ln V": (guessing, BLACK)}
    for name in ("unigram", "bigram"):
        by_counts = dynamics.loc[dynamics["quantity"] == f"{name}_loss", "mean"]
        ends |= {f"{name}s": (float(loss), BLACK) for loss in by_counts}
    for loss, _ in ends.values():
        axes.axhline(loss, color=BLACK, lw=1, ls=":")
    for name, colour in LOSSES.items():
        part = dynamics[dynamics["quantity"] == f"{name}_loss"].sort_values("step")
        if len(part):  # not recorded in earlier runs
            ends[name.replace("_", " ")] = line_with_band(axes, part, colour, 0.25, 1 if name == "train" else 1.8)
    axes.set(xlabel=STEPS, ylabel="cross-entropy (nats/token)", xlim=(0, max(1, dynamics["step"].max())))
    name_ends(axes, ends)
    return headline(
        figure,
        f"Model 5's test loss {_course(dynamics, 'test_loss')} nats/token",
        f"{_seeds(dynamics)} Training loss of each batch, test loss of fixed windows. Dotted: what guessing and "
        "counts of the training text reach.",
    )


def by_block(
    dynamics: pd.DataFrame, subject: str, quantities: Mapping[str, str], early: bool = False, log: bool = False
) -> Figure:
    """Quantities over steps, one line a block, mean over seeds with the 95 % band; a panel each.

    Args:
        subject: what the title says the course of: the first of the quantities.
        quantities: their names in the table and labels of their axes.
        early: whether the step axis opens up the first steps.
        log: whether the quantities, which are positive, have a logarithmic axis; bands are cut off below the lines.
    """
    figure, panels = subplots(0.42 * len(quantities) + 0.13, len(quantities), squeeze=False)
    for axes, (quantity, label) in zip(panels.flat, quantities.items(), strict=True):
        part = dynamics[dynamics["quantity"] == quantity].sort_values("step")
        blocks, last = part.groupby("block"), int(part["step"].max())
        ends = {
            f"block {block}": line_with_band(axes, line, colour, 0.12)
            for (block, line), colour in zip(blocks, ordered_colours(len(blocks)), strict=True)
        }
        axes.set(xlim=(0, max(last, 1)), ylabel=label)
        if early:
            early_steps(axes, last)
        if log:
            axes.set(yscale="log", ylim=(part["mean"].min() / 2, part["high"].max() * 1.1))
        name_ends(axes, ends)
    panels[-1, 0].set_xlabel(STEPS)
    return headline(
        figure,
        f"{subject} {_course(dynamics, next(iter(quantities)))}",
        f"A line for each block; in the title, the mean of blocks. {_seeds(dynamics)}",
    )


def histograms(table: pd.DataFrame, linear_std: float) -> Figure:
    """QKV histograms by block, a line for each of some snapshots from dark (start) to light (end)."""
    merged = table[table["part"] == "qkv"]
    figure, grid, panels = block_panels(merged)
    steps = np.array(sorted(merged["step"].unique()))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(SNAPSHOTS, len(steps))).round().astype(int))]
    limit = merged["right"][np.isfinite(merged["right"])].max()
    beyond = merged[~np.isfinite(merged["left"] * merged["right"])].groupby("step")["count"].sum()
    for axes, block, of_block in panels:
        for step, colour in zip(steps, ordered_colours(len(steps)), strict=True):
            part = of_block[of_block["step"] == step]
            inner = part[np.isfinite(part["left"]) & np.isfinite(part["right"])]
            axes.plot((inner["left"] + inner["right"]) / 2, inner["count"], color=colour, lw=1)
        outside = part[~(np.isfinite(part["left"]) & np.isfinite(part["right"]))]["count"].sum()
        axes.set_title(f"block {block}: {outside:,} beyond")
    grid[0, 0].set(yscale="log", xticks=[-limit / 2, 0, limit / 2])
    first, last = steps[0], steps[-1]
    label_edges(grid, "weight (no unit)", "weights per bin")
    return headline(
        figure,
        f"QKV weights beyond ±{limit:g}: {beyond[first]:,} at step {first}, {beyond[last]:,} at step {last}",
        f"Dark to light: steps {', '.join(map(str, steps))}. They start as N(0, {linear_std}²). One seed's run.",
        "A panel with histograms for each block.",
    )


def std_by_part(dynamics: pd.DataFrame) -> Figure:
    """σ of Q, K and V apart over steps, a panel a block, mean over seeds with the 95 % band."""
    parts = {f"std_{name}": colour for name, colour in MATRICES.items()}
    std = dynamics[dynamics["quantity"].isin(parts)]
    figure, grid, panels = block_panels(std)
    for axes, _, of_block in panels:
        for name, colour in parts.items():
            line_with_band(axes, of_block[of_block["quantity"] == name], colour, 0.2)
    label_edges(grid, STEPS, "σ of the weights")
    key(grid[0, 0], {name.upper(): colour for name, colour in MATRICES.items()}, "upper left")
    ends = std[std["step"] == std["step"].max()].groupby("quantity", observed=True)["mean"].mean()
    listed = ", ".join(f"{name[-1].upper()} {end:.3g}" for name, end in ends.sort_values(ascending=False).items())
    return headline(
        figure, f"σ of Model 5's weights ends apart: {listed}", f"{_seeds(dynamics)} In the title, of all blocks."
    )


def by_head(attention: pd.DataFrame, quantity: str, label: str, lowest: bool) -> Figure:
    """A quantity over steps, a panel a block and a line a head; the head that ends lowest, or highest, is named."""
    figure, grid, panels = block_panels(attention)
    last = int(attention["step"].max())
    extremes = {}
    for axes, block, of_block in panels:
        ends = of_block[of_block["step"] == last].set_index("head")[quantity]
        named = ends.idxmin() if lowest else ends.idxmax()
        extremes[block, named] = float(ends.min() if lowest else ends.max())
        for head, line in of_block.groupby("head"):
            colour, above = (RED, 3) if head == named else (GREY, 2)
            axes.plot(line["step"], line[quantity], color=colour, lw=1.2, zorder=above)
        axes.set_title(f"block {block}: head {named}")
    early_steps(grid[0, 0], last, digits=(1,))
    label_edges(grid, STEPS, label)
    extreme = "lowest" if lowest else "highest"
    at = (min if lowest else max)(extremes, key=lambda at: extremes[at])
    return headline(
        figure,
        f"Block {at[0]}, head {at[1]} ends {extreme} of all heads: {format_number(extremes[at])} ({label})",
        f"A line for each head; orange and named: the one that ends {extreme} in its block. One seed's run.",
    )


def _course(dynamics: pd.DataFrame, quantity: str) -> str:
    """How the mean over blocks of a quantity moves from the first step to the last, in words."""
    by_step = dynamics[dynamics["quantity"] == quantity].groupby("step")["mean"].mean()
    start, end = (format_number(value) for value in by_step.iloc[[0, -1]])
    if start == end:
        return f"stays at {start}"
    return f"{'rises' if by_step.iloc[-1] > by_step.iloc[0] else 'falls'} from {start} to {end}"


def _seeds(dynamics: pd.DataFrame) -> str:
    seeds = int(dynamics["seeds"].max())
    return "One seed." if seeds == 1 else f"Means of {seeds} seeds; bands: 95 % intervals."
