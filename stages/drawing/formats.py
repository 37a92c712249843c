"""Figures of the number formats: what fails at which dimension."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drawing.style import BLACK, BLUE, GREEN, GREY, RED

COLOURS = {"fp32": BLUE, "bf16": GREEN, "fp16": RED}
WIDTHS = {"fp32": 2.5, "bf16": 1.5, "fp16": 1.5}  # fp32 can be seen behind bf16, which overflows with it
SCALINGS = {"unscaled": "softmax of q·k", "scaled": "softmax of q·k/√d"}
STYLES = {"naive": "--", "subtracted": "-"}
KEYS = {"independent": "q and k independent", "aligned": "one key equals q"}
QUANTITIES = {
    "not_finite": "share of rows\nnot finite",
    "equal_logits": "share of rows with\nequal largest logits",
    "largest_total_variation": "total variation\ndistance, worst row",
    "relative_error": "largest probability:\nmedian relative error",
}
SMALLEST_ERROR = 1e-9  # shown; a row that one entry has for itself is without error


def _dimension_axis(axes: Axes, widest: int) -> None:
    """A logarithmic axis of dimensions with a tick at each power of two, some of them labelled."""
    axes.set_xscale("log", base=2)
    powers = range(1, widest.bit_length())
    labelled = powers[:: max(1, len(powers) // 3)]
    axes.set_xticks([2**power for power in powers], [f"{2**p:,}" if p in labelled else "" for p in powers])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("dimension d of q and k")


def formats(table: pd.DataFrame, width: float) -> Figure:
    """Failures and errors by dimension for independent q and k, unscaled (left) and scaled (right)."""
    figure = Figure(figsize=(width, 1.15 * width), layout="constrained")
    grid = figure.subplots(len(QUANTITIES), len(SCALINGS), sharex=True, sharey="row")
    independent = table[table["keys"] == "independent"]
    lines = dict(iter(independent.groupby(["scaling", "format", "softmax"], observed=True)))
    for (column, scaling), (row, quantity) in product(enumerate(SCALINGS), enumerate(QUANTITIES)):
        for (name, colour), (way, style) in product(COLOURS.items(), STYLES.items()):
            line = lines[(scaling, name, way)]
            grid[row, column].plot(line["dimension"], line[quantity], style, color=colour, lw=WIDTHS[name])
    for axes, title in zip(grid[0], SCALINGS.values(), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        _dimension_axis(axes, int(table["dimension"].max()))
    for axes, label in zip(grid[:, 0], QUANTITIES.values(), strict=True):
        axes.set_ylabel(label)
    for axes in grid[2:, 0]:
        axes.set_yscale("log")
    grid[-1, 0].set_ylim(bottom=SMALLEST_ERROR)
    handles = [Line2D([], [], color=colour, lw=WIDTHS[name], label=name) for name, colour in COLOURS.items()]
    handles += [Line2D([], [], color=BLACK, ls=style, label=way) for way, style in STYLES.items()]
    grid[0, 1].legend(handles=handles, ncols=2, fontsize=9)
    return figure


def first_failures(table: pd.DataFrame, first: dict[str, Any], width: float) -> Figure:
    """How far each combination lasts: a bar up to the first d with results that are not finite.

    Args:
        first: the stage's metrics, {format: {scaling: {softmax: {keys: {first_…: d}}}}}.
    """
    figure = Figure(figsize=(width, 0.7 * width), layout="constrained")
    panels = figure.subplots(1, len(KEYS), sharey=True)
    widest = int(table["dimension"].max())
    groups = list(product(SCALINGS, STYLES))
    for (axes, keys), (group, (scaling, way)), (i, name) in product(
        zip(panels, KEYS, strict=True), enumerate(groups), enumerate(COLOURS)
    ):
        found, y = first[name][scaling][way][keys], group + 0.25 * (i - 1)
        colour, end = COLOURS[name], found["first_not_finite"]
        axes.plot([1, end or widest], [y, y], color=colour, lw=5, alpha=0.5, solid_capstyle="butt")
        axes.plot(end or widest, y, "X" if end else ">", color=colour, ms=7)
        if end:
            axes.annotate(f"{end:,}", (end, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9)
        if 0 < found["first_zero_exp"] < (end or 2 * widest):
            axes.plot(found["first_zero_exp"], y, "o", color=colour, mfc="white", ms=5)
    for axes, title in zip(panels, KEYS.values(), strict=True):
        _dimension_axis(axes, widest)
        axes.set(title=title, xlim=(1, 16 * widest))
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(groups)), [f"{scaling},\n{way}" for scaling, way in groups])
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    handles = [Line2D([], [], color=colour, lw=5, alpha=0.5, label=name) for name, colour in COLOURS.items()]
    for marker, fill, label in (
        ("X", GREY, "first not finite"),
        (">", GREY, "finite throughout"),
        ("o", "white", "first exp that rounds to 0"),
    ):
        handles.append(Line2D([], [], color=GREY, ls="", marker=marker, mfc=fill, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure
