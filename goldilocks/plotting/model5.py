"""Figures of Model 5's training: losses, weights, attention and its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from goldilocks.plotting.palette import BLACK, ENDS, GREY, LOSSES, MATRICES, RED, SCALINGS
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
from goldilocks.softmax.scalings import FACTORS, OWN

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

BY_SCALING = {
    "effective_share": "effective share",
    "share_holding_half": "share holding half",
    "jacobian_norm": "‖softmax Jacobian‖",
    "logit_std": "σ of the logits",
}


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
    inner = np.isfinite(merged["left"] * merged["right"])
    beyond = merged[~inner].groupby(["step", "block"])["count"].sum().unstack()
    for axes, block, of_block in panels:
        for step, colour in zip(steps, ordered_colours(len(steps)), strict=True):
            bins = of_block[inner[of_block.index] & (of_block["step"] == step)]
            axes.plot((bins["left"] + bins["right"]) / 2, bins["count"], color=colour, lw=1)
        axes.set_title(f"block {block}: {beyond.loc[steps[-1], block]:,} beyond")
    grid[0, 0].set(yscale="log", xticks=[-limit / 2, 0, limit / 2])
    label_edges(grid, "weight (no unit)", "weights per bin")
    ends = ", ".join(f"{beyond.loc[step].sum():,} at step {step}" for step in steps[[0, -1]])
    return headline(
        figure,
        f"QKV weights beyond ±{limit:g}: {ends}",
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
    last, extreme = int(attention["step"].max()), "lowest" if lowest else "highest"
    ends = attention[attention["step"] == last].set_index(["block", "head"])[quantity]
    named = ends.groupby("block").agg("idxmin" if lowest else "idxmax")  # block and head, by block
    for axes, block, of_block in panels:
        for head, line in of_block.groupby("head"):
            colour, above = (RED, 3) if (block, head) == named[block] else (GREY, 2)
            axes.plot(line["step"], line[quantity], color=colour, lw=1.2, zorder=above)
        axes.set_title(f"block {block}: head {named[block][1]}")
    early_steps(grid[0, 0], last, digits=(1,))
    label_edges(grid, STEPS, label)
    at: Any = ends.idxmin() if lowest else ends.idxmax()
    return headline(
        figure,
        f"Block {at[0]}, head {at[1]} ends {extreme} of all heads: {format_number(ends[at])} ({label})",
        f"A line for each head; orange and named: the one that ends {extreme} in its block. One seed's run.",
    )


def logits_by_scaling(logits: pd.DataFrame) -> Figure:
    """Softmax of logits with each scaling at inference, over steps, mean over blocks and seeds."""
    figure, panels = subplots(0.8, 2, 2, sharex=True)
    last = int(logits["step"].max())
    for axes, (quantity, label) in zip(panels.flat, BY_SCALING.items(), strict=True):
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
        axes.set_xlabel(STEPS)
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


def logit_distribution(histograms: pd.DataFrame) -> Figure:
    """The logits of each block, standardised by head, at the first and the last snapshot."""
    figure, grid, panels = block_panels(histograms)
    first, last = histograms["step"].min(), histograms["step"].max()
    for axes, _, of_block in panels:
        for step, colour in zip((first, last), ENDS, strict=True):
            part = of_block[of_block["step"] == step]
            inner = part[np.isfinite(part["left"] * part["right"])]
            middle = (inner["left"] + inner["right"]) / 2
            density = inner["count"] / part["count"].sum() / (inner["right"] - inner["left"])
            axes.plot(middle[density > 0], density[density > 0], color=colour, lw=1.2)
        axes.plot(middle, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), color=BLACK, lw=0.8, ls="--")
    label_edges(grid, "(logit - mean) / σ", "density (per σ)")
    grid[0, 0].set(yscale="log", ylim=(1e-5, 200))
    key(grid[0, 0], {f"— step {first}": ENDS[0], f"— step {last}": ENDS[1], "-- normal": BLACK}, "upper left")
    return headline(
        figure,
        f"Attention's logits at step {first} and step {last} beside the normal distribution",
        "One seed's run; logits of all heads of a block, each in its own mean and σ.",
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
