"""Figures of Model 5's training: losses, weights and attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from goldilocks.plotting.palette import BLACK, GREY, LOSSES, MATRICES, RED
from goldilocks.plotting.style import (
    early_steps,
    format_number,
    headline,
    key,
    label_edges,
    name_ends,
    ordered_colours,
    panel_height,
    small_multiples,
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
    ends = {"guessing: ln V": (guessing, BLACK)}
    for name in ("unigram", "bigram"):
        by_counts = dynamics.loc[dynamics["quantity"] == f"{name}_loss", "mean"]
        ends |= {f"{name}s": (float(loss), BLACK) for loss in by_counts}
    for loss, _ in ends.values():
        axes.axhline(loss, color=BLACK, lw=1, ls=":")
    for name, colour in LOSSES.items():
        part = dynamics[dynamics["quantity"] == f"{name}_loss"].sort_values("step")
        if part.empty:  # of a run before it was recorded
            continue
        axes.plot(part["step"], part["mean"], lw=1 if name == "train" else 1.8, color=colour)
        axes.fill_between(part["step"], part["low"], part["high"], color=colour, alpha=0.25, lw=0)
        ends[name.replace("_", " ")] = (float(part["mean"].iloc[-1]), colour)
    axes.set(xlabel=STEPS, ylabel="cross-entropy (nats/token)", xlim=(0, max(1, dynamics["step"].max())))
    name_ends(axes, ends, panel_height(figure))
    headline(
        figure,
        f"Model 5's test loss {_course(dynamics, 'test_loss')} nats/token",
        f"{_seeds(dynamics)} Training loss of each batch, test loss of fixed windows. Dotted: what guessing and "
        "counts of the training text reach.",
    )
    return figure


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
        _lines_by_block(
            axes, dynamics[dynamics["quantity"] == quantity], early, log, panel_height(figure, len(quantities))
        )
        axes.set_ylabel(label)
    panels[-1, 0].set_xlabel(STEPS)
    headline(
        figure,
        f"{subject} {_course(dynamics, next(iter(quantities)))}",
        f"A line for each block; in the title, the mean of blocks. {_seeds(dynamics)}",
    )
    return figure


def _lines_by_block(axes: Axes, part: pd.DataFrame, early: bool, log: bool, axes_height: float) -> None:
    """One quantity over steps: a line and a band for each block, labelled at their ends."""
    blocks = sorted(part["block"].unique())
    colours = ordered_colours(len(blocks))
    last = int(part["step"].max())
    ends = {}
    for block, colour in zip(blocks, colours, strict=True):
        line = part[part["block"] == block].sort_values("step")
        axes.plot(line["step"], line["mean"], color=colour, lw=1.5)
        axes.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.12, lw=0)
        ends[f"block {block}"] = (float(line["mean"].iloc[-1]), colour)
    axes.set_xlim(0, max(last, 1))
    if early:
        early_steps(axes, last)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(part["mean"].min() / 2, part["high"].max() * 1.1)
    name_ends(axes, ends, axes_height)


def histograms(table: pd.DataFrame, linear_std: float) -> Figure:
    """QKV histograms by block, a line for each of some snapshots from dark (start) to light (end)."""
    merged = table[table["part"] == "qkv"]
    blocks = sorted(merged["block"].unique())
    figure, grid = small_multiples(len(blocks))
    steps = np.array(sorted(merged["step"].unique()))
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(SNAPSHOTS, len(steps))).round().astype(int))]
    limit = merged["right"][np.isfinite(merged["right"])].max()
    beyond = merged[~np.isfinite(merged["left"] * merged["right"])].groupby("step")["count"].sum()
    for axes, block in zip(grid.flat, blocks, strict=False):
        of_block = merged[merged["block"] == block]
        for step, colour in zip(steps, ordered_colours(len(steps)), strict=True):
            part = of_block[of_block["step"] == step]
            inner = part[np.isfinite(part["left"]) & np.isfinite(part["right"])]
            axes.plot((inner["left"] + inner["right"]) / 2, inner["count"], color=colour, lw=1)
        outside = part[~(np.isfinite(part["left"]) & np.isfinite(part["right"]))]["count"].sum()
        axes.set_title(f"block {block}: {outside:,} beyond")
    grid[0, 0].set(yscale="log", xticks=[-limit / 2, 0, limit / 2])
    first, last = steps[0], steps[-1]
    label_edges(grid, "weight (no unit)", "weights per bin")
    headline(
        figure,
        f"QKV weights beyond ±{limit:g}: {beyond[first]:,} at step {first}, {beyond[last]:,} at step {last}",
        f"Dark to light: steps {', '.join(map(str, steps))}. They start as N(0, {linear_std}²). One seed's run.",
        "A panel with histograms for each block.",
    )
    return figure


def std_by_part(dynamics: pd.DataFrame) -> Figure:
    """σ of Q, K and V apart over steps, a panel a block, mean over seeds with the 95 % band."""
    parts = {name: dynamics[dynamics["quantity"] == f"std_{name}"] for name in MATRICES}
    blocks = sorted(parts["q"]["block"].unique())
    figure, grid = small_multiples(len(blocks))
    for axes, block in zip(grid.flat, blocks, strict=False):
        for name, colour in MATRICES.items():
            line = parts[name][parts[name]["block"] == block]
            axes.plot(line["step"], line["mean"], color=colour, lw=1.5)
            axes.fill_between(line["step"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
        axes.set_title(f"block {block}")
    label_edges(grid, STEPS, "σ of the weights")
    key(grid[0, 0], {name.upper(): colour for name, colour in MATRICES.items()}, "upper left")
    last = dynamics["step"].max()
    ends = {name: part[part["step"] == last]["mean"].mean() for name, part in parts.items()}
    listed = ", ".join(f"{name.upper()} {ends[name]:.3g}" for name in sorted(ends, key=lambda name: -ends[name]))
    headline(figure, f"σ of Model 5's weights ends apart: {listed}", f"{_seeds(dynamics)} In the title, of all blocks.")
    return figure


def by_head(attention: pd.DataFrame, quantity: str, label: str, lowest: bool) -> Figure:
    """A quantity over steps, a panel a block and a line a head; the head that ends lowest, or highest, is named."""
    blocks = sorted(attention["block"].unique())
    figure, grid = small_multiples(len(blocks))
    last = int(attention["step"].max())
    extremes = {}
    for axes, block in zip(grid.flat, blocks, strict=False):
        of_block = attention[attention["block"] == block]
        ends = of_block[of_block["step"] == last].set_index("head")[quantity]
        named = ends.idxmin() if lowest else ends.idxmax()
        extremes[block, named] = float(ends[named])
        for head, line in of_block.groupby("head"):
            colour, above = (RED, 3) if head == named else (GREY, 2)
            axes.plot(line["step"], line[quantity], color=colour, lw=1.2, zorder=above)
        axes.set_title(f"block {block}: head {named}")
    early_steps(grid[0, 0], last, digits=(1,))
    label_edges(grid, STEPS, label)
    extreme = "lowest" if lowest else "highest"
    block, head = (min if lowest else max)(extremes, key=lambda at: extremes[at])
    headline(
        figure,
        f"Block {block}, head {head} ends {extreme} of all heads: {format_number(extremes[block, head])} ({label})",
        f"A line for each head; orange and named: the one that ends {extreme} in its block. One seed's run.",
    )
    return figure


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
