"""Figures of the number formats: what fails at which dimension."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from goldilocks.plotting.palette import BLACK, FORMATS
from goldilocks.plotting.style import TEXT, dimension_axis, headline, key, subplots, write

WIDTHS = {"fp32": 2.5, "bf16": 1.5, "fp16": 1.5}  # fp32 can be seen behind bf16, which overflows with it
SCALINGS = {"unscaled": "softmax of q·k", "scaled": "softmax of q·k/√d"}
STYLES = {"naive": "--", "subtracted": "-"}
KEYS = {"independent": "q and k independent", "aligned": "one key equals q"}
QUANTITIES = {
    "not_finite": "share of rows\nnot finite",
    "equal_logits": "share with equal\nlargest logits",
    "largest_total_variation": "total variation,\nworst row",
    "relative_error": "relative error,\nlargest entry",
}
SMALLEST_ERROR = 1e-9  # shown; a row that one entry has for itself is without error
HEADER = 0.75  # rows that the name of a group of bars takes


def _powers_axis(axes: Axes, widest: int) -> None:
    """An axis of dimensions with labels at about four powers of two."""
    powers = range(1, widest.bit_length())
    dimension_axis(axes, [2**power for power in powers[:: max(1, -(-len(powers) // 4))]], "dimension d of q and k")


def formats(table: pd.DataFrame) -> Figure:
    """Failures and errors by dimension for independent q and k, unscaled (left) and scaled (right)."""
    figure, grid = subplots(1.2, len(QUANTITIES), len(SCALINGS), sharex=True, sharey="row")
    independent = table[table["keys"] == "independent"]
    lines = dict(iter(independent.groupby(["scaling", "format", "softmax"], observed=True)))
    for (column, scaling), (row, quantity) in product(enumerate(SCALINGS), enumerate(QUANTITIES)):
        for (name, colour), (way, style) in product(FORMATS.items(), STYLES.items()):
            line = lines[(scaling, name, way)]
            grid[row, column].plot(line["dimension"], line[quantity], style, color=colour, lw=WIDTHS[name])
    for axes, title in zip(grid[0], SCALINGS.values(), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        _powers_axis(axes, int(table["dimension"].max()))
    for axes, label in zip(grid[:, 0], QUANTITIES.values(), strict=True):
        axes.set_ylabel(label)
    for axes in grid[:2, 0]:
        axes.yaxis.set_major_locator(MaxNLocator(4))  # whatever the height: their labels were measured before layout
    for axes in grid[2:, 0]:
        axes.set_yscale("log")
    grid[-1, 0].set_ylim(bottom=SMALLEST_ERROR)
    key(grid[0, 1], FORMATS)
    ways = [Line2D([], [], color=BLACK, ls=style, label=way) for way, style in STYLES.items()]
    grid[0, 1].legend(handles=ways, loc="upper left")
    return headline(
        figure,
        "Less the maximum, softmax stays finite; over √d, it stays right",
        "q and k independent; lines end where nothing is finite. Subtracted: the row's maximum, before exp.",
        "Four rows of panels over d, unscaled left and over √d right, a line for each format and way of softmax.",
    )


def first_failures(table: pd.DataFrame, first: dict[str, Any]) -> Figure:
    """A bar for each combination, up to the first d with results that are not finite.

    Args:
        first: the stage's metrics, {format: {scaling: {softmax: {keys: {first_…: d}}}}}.
    """
    figure, panels = subplots(0.95, 1, len(KEYS), sharey=True)
    widest = int(table["dimension"].max())
    ways = list(product(SCALINGS, STYLES, FORMATS))
    rows = {way: i + HEADER * (i // len(FORMATS)) for i, way in enumerate(ways)}
    held = 0
    for (axes, keys), ((scaling, way, name), y) in product(zip(panels, KEYS, strict=True), rows.items()):
        found, colour = first[name][scaling][way][keys], FORMATS[name]
        end, zero = found["first_not_finite"], found["first_zero_exp"]
        held += not end
        axes.plot([1, end or widest], [y, y], color=colour, lw=6, alpha=0.5, solid_capstyle="butt")
        axes.plot(end or widest, y, "X" if end else ">", color=colour, ms=8)
        if end:
            write(axes, f"{end:,}", (end, y), colour, (7, 0))
        if 0 < zero < (end or 2 * widest):
            axes.plot(zero, y, "o", color=colour, mfc="white", ms=6)
    for axes, title in zip(panels, KEYS.values(), strict=True):
        _powers_axis(axes, widest)
        axes.set(title=title, xlim=(1, 32 * widest))
        axes.grid(axis="y", visible=False)
    for scaling, way, name in ways[:: len(FORMATS)]:
        panels[0].text(1.2, rows[scaling, way, name] - 0.8, f"{scaling}, {way}", va="center", fontsize=TEXT)
    panels[0].set_yticks(list(rows.values()), [name for _, _, name in rows])
    panels[0].set(ylim=(max(rows.values()) + 0.6, -1.3), ylabel="format and way of softmax")
    return headline(
        figure,
        f"{held} of {len(rows) * len(KEYS)} ways to take softmax stay finite up to d = {widest:,}",
        "✖ and number: first d with results that are not finite. ► finite throughout. ○ first exp that is 0. "
        "Scaled: q·k/√d. Subtracted: the row's maximum, before exp.",
        "A bar for each number format, scaling and way of softmax, from d = 2 to where it breaks.",
    )
