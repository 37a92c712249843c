"""Figures of LayerNorm parameters."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.drawing.style import RED, SEQUENCE

FINAL, BEFORE = -1, -2
RANGES = {"gamma": (0.0, 3.0), "beta": (-5.0, 5.0)}
EDGES = 100
NAMES = {"gamma": "γ (stretching)", "beta": "β (shifting)"}


def clipped_counts(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Counts in the bins of `edges`, and how many values lie below and above them."""
    counts, _ = np.histogram(values, edges)
    return counts, int((values < edges[0]).sum()), int((values > edges[-1]).sum())


def literal(name: str) -> str:
    """A name as it is, for Matplotlib, which would take what stands between dollar signs for a formula."""
    return name.replace("$", r"\$")


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
    axes.set(yscale="log", ylim=(0.7, None), title=f"{literal(model)}: {values.size:,} values of {NAMES[kind]}")
    axes.set_xlabel(f"{NAMES[kind]}, no unit")


def _grid(table: pd.DataFrame, width: float) -> tuple[Figure, list[tuple[Axes, str, str, pd.DataFrame]]]:
    """A figure with a row for each model and a column for γ and β, where there are any: axes, model, kind, values."""
    models = list(dict.fromkeys(table["model"]))
    figure = Figure(figsize=(width, 0.36 * width * len(models)), layout="constrained")
    grid = figure.subplots(len(models), 2, squeeze=False)
    found = []
    for row, model in enumerate(models):
        for column, kind in enumerate(RANGES):
            chosen = table[(table["model"] == model) & (table["kind"] == kind) & np.isfinite(table["value"])]
            if chosen.empty:
                grid[row, column].set_axis_off()
            else:
                found.append((grid[row, column], model, kind, chosen))
    return figure, found


def histograms(table: pd.DataFrame, width: float) -> Figure:
    """Experiment 4: γ and β of every model, in the articles' 100 edges, with what lies outside as red bars."""
    colours = dict(zip(dict.fromkeys(table["model"]), cycle(SEQUENCE), strict=False))
    figure, parts = _grid(table, width)
    for axes, model, kind, chosen in parts:
        _histogram(axes, chosen["value"].to_numpy(), kind, model, colours[model])
        if kind == "gamma":
            axes.set_ylabel("parameters (log scale)")
    return figure


def by_block(table: pd.DataFrame, width: float) -> Figure:
    """γ and β by block: median and the 5-95 % range; norms outside the blocks stand at the ends."""
    figure, parts = _grid(table, width)
    for axes, model, kind, chosen in parts:
        blocks = int(chosen["block"].max()) + 1
        for place, colour in zip(dict.fromkeys(chosen["place"]), cycle(SEQUENCE), strict=False):
            of_place = chosen[chosen["place"] == place]
            part = of_place.groupby("block")["value"].quantile([0.05, 0.5, 0.95]).unstack()
            x = [{FINAL: blocks, BEFORE: -1}.get(block, block) for block in part.index]
            axes.errorbar(
                x, part[0.5], [part[0.5] - part[0.05], part[0.95] - part[0.5]], fmt="o-", ms=4, lw=1, capsize=2,
                color=colour, label=place,
            )  # fmt: skip
        axes.set(title=f"{literal(model)}: {NAMES[kind]}", xlabel="block (last: final norm)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if kind == "gamma":
            axes.set_ylabel("median, 5-95 %")
            axes.legend(fontsize=8)
    return figure


def by_model(table: pd.DataFrame, width: float, start: float, end: float) -> Figure:
    """γ of every model: median, quartiles and the 5-95 % range, beside the range that the articles name."""
    gamma = table[(table["kind"] == "gamma") & np.isfinite(table["value"])]
    models = list(dict.fromkeys(gamma["model"]))
    figure = Figure(figsize=(width, 0.12 * width + 0.05 * width * len(models)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(start, end, color=SEQUENCE[1], alpha=0.2, lw=0, label=f"{start:g} to {end:g}")
    axes.axvline(1, color="grey", lw=0.8)
    for y, model in enumerate(models):
        q = np.percentile(gamma["value"][gamma["model"] == model], (5, 25, 50, 75, 95))
        axes.plot(q[[0, 4]], [y, y], color=SEQUENCE[0], lw=1)
        axes.plot(q[[1, 3]], [y, y], color=SEQUENCE[0], lw=5, solid_capstyle="butt")
        axes.plot(q[2], y, "o", color="white", mec=SEQUENCE[0])
    axes.set(
        yticks=range(len(models)),
        yticklabels=[literal(model) for model in models],
        xlabel="γ, no unit: median, quartiles, 5-95 %",
    )
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.legend(fontsize=8)
    return figure
