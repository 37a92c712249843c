"""Figures of the ablations: what each choice of Model 5 does to its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.ablation.conditions import ARTICLES, CONDITIONS, GRID, NO_LAYERNORM
from stages.ablation.summary import chosen
from stages.common import statistics
from stages.drawing.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, small_multiples

EXPONENTS = {0.0: ("no scaling", RED), 0.5: ("1/√d", BLUE), 1.0: ("1/d", GREEN)}


def figures(runs: pd.DataFrame, found: dict[str, Any], width: float) -> dict[str, Callable[[], Figure]]:
    """What draws every figure that the runs have something for, by name."""
    conditions = found["conditions"]
    drawn = {
        "test_loss": lambda: test_loss(conditions, width),
        "loss_curves": lambda: curves(runs, list(conditions), width),
        "entropy_and_loss": lambda: entropy_and_loss(conditions, width),
    }
    if "without_layernorm" in found:
        drawn["layernorm"] = lambda: layernorm(runs, width)
    return drawn


def test_loss(conditions: dict[str, Any], width: float) -> Figure:
    """The last test loss of each condition with its interval over seeds, and beside it less the articles', by pairs."""
    names = [name for name in conditions if "last_test_loss" in conditions[name]]
    figure = Figure(figsize=(width, 0.12 * width + 0.27 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    order = sorted(names, key=lambda name: -conditions[name]["last_test_loss"]["value"])
    for axes, quantity in zip(panels, ("last_test_loss", "added_loss"), strict=True):
        for y, name in enumerate(order):
            e = conditions[name][quantity]
            colour = BLACK if name == ARTICLES else BLUE
            axes.plot([e["low"], e["high"]], [y, y], color=colour, lw=2, alpha=0.6)
            axes.plot(e["value"], y, "o", ms=4.5, color=colour)
    labels = [CONDITIONS[n].label + (f" ({d} diverged)" if (d := conditions[n]["diverged"]) else "") for n in order]
    panels[0].set_yticks(range(len(order)), labels, fontsize=8)
    panels[0].set_xlabel("last test loss (nats/token)")
    panels[1].axvline(0, color=GREY, lw=1, ls=":")
    panels[1].set_xlabel("less the articles' model (nats/token)")
    figure.suptitle("Test loss by condition, mean and 95 % interval over seeds", fontsize=10)
    return figure


def curves(runs: pd.DataFrame, conditions: list[str], width: float) -> Figure:
    """Test loss over steps: a panel for each width of the start, and one for single choices taken back."""
    starts = sorted({std for name in conditions if name in GRID and (std := GRID[name].linear_std)})
    single = [name for name in conditions if name not in GRID]
    figure, grid = small_multiples(len(starts) + bool(single), width, columns=2)
    panels = [
        (f"start: σ = {std}", [name for name in conditions if name in GRID and GRID[name].linear_std == std])
        for std in starts
    ]
    if single:
        panels.append(("single choices, start: σ = 0.02", [ARTICLES, *single]))
    for axes, (title, names) in zip(grid.flat, panels, strict=False):
        for name, colour in zip(names, (BLUE, RED, GREEN, ORANGE, BLACK, GREY), strict=False):
            label = CONDITIONS[name].label.split(", ")[0]
            if name in GRID and title.startswith("start"):
                label, colour = EXPONENTS[GRID[name].variant["attention_exponent"]]
            by_seed = chosen(runs, name, "test_loss").pivot(index="step", columns="seed", values="value")
            mean = by_seed.mean(axis=1)
            half = [statistics.mean_interval(row.dropna()).high - row.mean() for _, row in by_seed.iterrows()]
            axes.plot(mean.index, mean, color=colour, lw=1.3, label=label)
            axes.fill_between(mean.index, mean - half, mean + half, color=colour, alpha=0.15, lw=0)
        axes.set_title(title, fontsize=8)
        axes.legend(fontsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("step (updates)")
    for axes in grid[:, 0]:
        axes.set_ylabel("test loss (nats/token)")
    figure.suptitle("Test loss over training, mean over seeds with the 95 % band", fontsize=10)
    return figure


def entropy_and_loss(conditions: dict[str, Any], width: float) -> Figure:
    """Attention entropy at the start against the last test loss, a point a condition, intervals over seeds.

    A line joins the starts of one scaling.
    """
    figure = Figure(figsize=(width, 0.55 * width), layout="constrained")
    axes = figure.subplots()
    for name, found in conditions.items():
        if "last_test_loss" not in found:
            continue
        x, y = found["initial_attention_entropy"], found["last_test_loss"]
        colour = EXPONENTS[GRID[name].variant["attention_exponent"]][1] if name in GRID else GREY
        axes.plot([x["low"], x["high"]], [y["value"]] * 2, color=colour, lw=1.5, alpha=0.6)
        axes.plot([x["value"]] * 2, [y["low"], y["high"]], color=colour, lw=1.5, alpha=0.6)
        axes.plot(x["value"], y["value"], "o", ms=4.5, color=colour)
        if x["value"] < 0.98 or abs(found["added_loss"]["value"]) > 0.05:
            left = x["value"] > 0.5
            axes.annotate(
                CONDITIONS[name].label,
                (x["value"], y["value"]),
                xytext=(-6 if left else 6, 5),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=8,
                color=colour,
            )
    for exponent, (label, colour) in EXPONENTS.items():
        line = sorted(
            (found["initial_attention_entropy"]["value"], found["last_test_loss"]["value"])
            for name, found in conditions.items()
            if name in GRID and GRID[name].variant["attention_exponent"] == exponent and "last_test_loss" in found
        )
        axes.plot(*zip(*line, strict=True), ls=":", lw=1, color=colour)
        axes.plot([], [], "o:", lw=1, color=colour, label=f"{label}, start 0.002 to 0.2")
    axes.plot([], [], "o", color=GREY, label="other changes, 1/√d")
    axes.legend(fontsize=8)
    axes.set(xlabel="attention entropy before training / its maximum", ylabel="last test loss (nats/token)")
    axes.set_title("From where softmax starts to where the loss ends")
    return figure


def layernorm(runs: pd.DataFrame, width: float) -> Figure:
    """With and without LayerNorm, mean over seeds with the 95 % band: gradients and activations by block."""
    figure = Figure(figsize=(width, 0.75 * width), layout="constrained")
    panels = figure.subplots(2, 2)
    shown = (
        ("gradient_log_mean", "mean ln ‖gradient‖ over steps"),
        ("gradient_log_jump", "σ of its change, step to step"),
        ("residual_rms", "RMS entering the block, at the end"),
        ("input_rms", "RMS that attention sees, at the end"),
    )
    for axes, (quantity, label) in zip(panels.flat, shown, strict=True):
        for name, colour in ((ARTICLES, BLUE), (NO_LAYERNORM, RED)):
            found = chosen(runs, name, quantity)
            found = found[found["step"] == found.groupby("seed")["step"].transform("max")]
            by_seed = found.pivot(index="block", columns="seed", values="value")
            estimates = [statistics.mean_interval(row.dropna()) for _, row in by_seed.iterrows()]
            low, high = ([getattr(e, end) for e in estimates] for end in ("low", "high"))
            axes.plot(by_seed.index, [e.value for e in estimates], "o-", ms=4, color=colour, label=name)
            axes.fill_between(by_seed.index, np.maximum(low, 1e-3) if "rms" in quantity else low, high, color=colour,
                              alpha=0.15, lw=0)  # fmt: skip
        axes.set_ylabel(label)
        if "rms" in quantity:
            axes.set_yscale("log")
    for axes in panels[1]:
        axes.set_xlabel("block")
    panels[0, 0].legend(panels[0, 0].lines, ["with LayerNorm", "without"], fontsize=8)
    figure.suptitle("What LayerNorm does, mean over seeds with the 95 % band", fontsize=10)
    return figure
