"""Figures of LayerNorm parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.drawing.style import BLUE, RED, SEQUENCE

FINAL = -1
RANGES = {"gamma": (0.0, 3.0), "beta": (-5.0, 5.0)}
EDGES = 100
NAMES = {"gamma": "γ (stretching)", "beta": "β (shifting)"}


def clipped_counts(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Counts in the bins of `edges`, and how many values lie below and above them."""
    counts, _ = np.histogram(values, edges)
    return counts, int((values < edges[0]).sum()), int((values > edges[-1]).sum())


def _histogram(axes: Axes, values: np.ndarray, kind: str, model: str, colour: str) -> None:
    edges = np.linspace(*RANGES[kind], EDGES)
    counts, below, above = clipped_counts(values, edges)
    axes.stairs(counts, edges, fill=True, color=colour, alpha=0.8)
    step = edges[1] - edges[0]
    for count, left, text, side in (
        (below, edges[0] - 3 * step, "below", "right"),
        (above, edges[-1] + step, "above", "left"),
    ):
        if count:
            axes.bar(left, count, 2 * step, align="edge", color=RED)
            axes.annotate(
                f"{count} {text}", (left + step, count), xytext=(0, 3), textcoords="offset points",
                ha=side, fontsize=8, color=RED,
            )  # fmt: skip
    axes.set(yscale="log", ylim=(0.7, None), title=f"{model}: {values.size:,} values of {NAMES[kind]}")
    axes.set_xlabel(f"{NAMES[kind]}, no unit")


def histograms(table: pd.DataFrame, width: float) -> Figure:
    """Experiment 4: γ and β of every model, in the articles' 100 edges, with what lies outside as red bars."""
    models = list(dict.fromkeys(table["model"]))
    figure = Figure(figsize=(width, 0.36 * width * len(models)), layout="constrained")
    grid = figure.subplots(len(models), 2, squeeze=False)
    for row, model in enumerate(models):
        for column, kind in enumerate(RANGES):
            values = table["value"][(table["model"] == model) & (table["kind"] == kind)].to_numpy()
            _histogram(grid[row, column], values, kind, model, SEQUENCE[row % len(SEQUENCE)])
        grid[row, 0].set_ylabel("parameters (log scale)")
    return figure


def by_block(table: pd.DataFrame, width: float) -> Figure:
    """γ and β by block: median and the band from the 5 % to the 95 % quantile; the final norm stands last."""
    models = list(dict.fromkeys(table["model"]))
    figure = Figure(figsize=(width, 0.36 * width * len(models)), layout="constrained")
    grid = figure.subplots(len(models), 2, squeeze=False)
    for row, model in enumerate(models):
        for column, kind in enumerate(RANGES):
            axes = grid[row, column]
            chosen = table[(table["model"] == model) & (table["kind"] == kind)]
            blocks = int(chosen["block"].max()) + 1
            for norm, colour in zip(("ln_1", "ln_2", "ln_f"), (BLUE, *SEQUENCE[1:3]), strict=True):
                of_norm = chosen[chosen["norm"] == norm]
                if of_norm.empty:
                    continue
                part = of_norm.groupby("block")["value"].quantile([0.05, 0.5, 0.95]).unstack()
                x = [blocks if block == FINAL else block for block in part.index]
                axes.errorbar(
                    x, part[0.5], [part[0.5] - part[0.05], part[0.95] - part[0.5]], fmt="o-", ms=4, lw=1, capsize=2,
                    color=colour, label=norm,
                )  # fmt: skip
            axes.set(title=f"{model}: {NAMES[kind]}", xlabel="block (last: final norm)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[row, 0].set_ylabel("median, 5-95 %")
        grid[row, 0].legend(fontsize=8)
    return figure
