"""Figures of the map over dimensions and logit scales, and of the Goldilocks zone in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.drawing.style import BLACK, BLUE, ORDERED, RED, SKY

SCALES = (("1", 0.0, BLACK, "-"), ("1/√d", 0.5, BLUE, "-"), ("1/d", 1.0, RED, "--"))  # name, exponent, colour, dashes


def corners(dimensions: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the map's cells, d and s = d^-x, each (exponents + 1, dimensions + 1).

    Cells end halfway between neighbours, on both logarithmic axes; those of the outermost scales end at 1/d and at 1.

    Args:
        dimensions: (dimensions,) each twice the last.
        exponents: (exponents,) x from 1 down to 0.
    """
    d = np.append(dimensions, 2 * dimensions[-1]) / np.sqrt(2)
    x = np.concatenate([exponents[:1], (exponents[1:] + exponents[:-1]) / 2, exponents[-1:]])
    grid = np.broadcast_to(d, (x.size, d.size))
    return grid, grid ** -x[:, None]


def heat_maps(cells: pd.DataFrame, zone: pd.DataFrame, width: float) -> Figure:
    """Gradient, discrimination, entropy and Jacobian over d and s, for the middle length and the lowest correlation."""
    lengths = sorted(cells["length"].unique())
    n, rho = lengths[len(lengths) // 2], cells["correlation"].min()
    shown, edges = (t[(t["length"] == n) & (t["correlation"] == rho)] for t in (cells, zone))
    panels = (
        ("relative_gradient", "gradient / that of an even softmax", Normalize(0, 1)),
        ("discrimination", "largest probability · n", LogNorm(1, n)),
        ("normalised_entropy", "entropy / ln n", Normalize(0, 1)),
        ("jacobian_norm", "‖softmax Jacobian‖", Normalize(0, shown["jacobian_norm"].max())),
    )
    figure = Figure(figsize=(width, 0.85 * width), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (name, title, norm) in zip(grid.flat, panels, strict=True):
        values = shown.pivot(index="exponent", columns="dimension", values=name).sort_index(ascending=False)
        x, y = corners(values.columns.to_numpy(), values.index.to_numpy())
        image = axes.pcolormesh(x, y, values.to_numpy(), norm=norm, cmap=ORDERED, rasterized=True)
        figure.colorbar(image, ax=axes, pad=0.02)
        _scales(axes, edges["dimension"].to_numpy(), outlined="white")
        _name_scales(axes, int(edges["dimension"].max()))
        for edge in ("lower", "upper"):
            known = edges[edge].where(~edges[f"{edge}_beyond"])
            axes.plot(edges["dimension"], known, color="white", lw=1.8, path_effects=_outline(BLACK))
        axes.set_title(title, fontsize=10)
    _label_edges(grid, 2 * ["logit scale s"])
    figure.suptitle(f"softmax(s·qKᵀ), n = {n} keys, ρ = {rho:g}; white: edges of the zone", fontsize=10)
    return figure


def zones(zone: pd.DataFrame, width: float, least_gradient: float, least_discrimination: float) -> Figure:
    """The zone over d and s, a row of panels for each length and a column for each correlation."""
    lengths, correlations = (list(dict.fromkeys(zone[name])) for name in ("length", "correlation"))
    figure = Figure(figsize=(width, 0.24 * width * len(lengths) + 0.9), layout="constrained")
    grid = figure.subplots(len(lengths), len(correlations), sharex=True, sharey=True, squeeze=False)
    for row, n in zip(grid, lengths, strict=True):
        for axes, rho in zip(row, correlations, strict=True):
            part = zone[(zone["length"] == n) & (zone["correlation"] == rho)]
            top = np.maximum(part["lower"], part["upper"])  # where there is no zone, nothing is shaded
            axes.fill_between(part["dimension"], part["lower"], top, color=SKY, alpha=0.5, lw=0)
            _scales(axes, part["dimension"].to_numpy())
    for axes, rho in zip(grid[0], correlations, strict=True):
        axes.set_title(f"ρ = {rho:g}", fontsize=10)
    _label_edges(grid, [f"n = {n} keys\nlogit scale s" for n in lengths])
    learns = f"gradient at least {least_gradient:g} of an even softmax's"
    label = f"{learns}, largest probability at least {least_discrimination:g}/n"
    lines = [Line2D([], [], color=colour, ls=dashes, label=f"s = {name}") for name, _, colour, dashes in SCALES]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=9)
    figure.legend(handles=[Patch(color=SKY, alpha=0.5, lw=0, label=label)], loc="outside upper center", fontsize=9)
    return figure


def _scales(axes: Axes, dimensions: np.ndarray, outlined: str | None = None) -> None:
    """Both axes logarithmic, with the scales 1, 1/√d and 1/d as lines."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(0.7 / dimensions[-1], 1.4)
    axes.grid(visible=False)
    ticks = dimensions[:: max(1, dimensions.size // 4)]
    axes.set_xticks(ticks, [str(d) for d in ticks])
    for _, exponent, colour, dashes in SCALES:
        effects = _outline(outlined) if outlined else []
        axes.plot(dimensions, dimensions**-exponent, dashes, color=colour, lw=1.2, path_effects=effects)


def _name_scales(axes: Axes, widest: int) -> None:
    """Name the lines of the scales to the right of the map."""
    for name, exponent, colour, _ in SCALES:
        axes.annotate(
            name, (1.5 * widest, widest**-exponent), color=colour, va="center", fontsize=9, annotation_clip=False
        )


def _outline(colour: str) -> list[patheffects.AbstractPathEffect]:
    """What lets a line stand out from any colour of a heat map."""
    return [patheffects.withStroke(linewidth=3, foreground=colour)]


def _label_edges(grid: np.ndarray, ylabels: list[str]) -> None:
    for axes in grid[-1]:
        axes.set_xlabel("dimension d")
    for axes, label in zip(grid[:, 0], ylabels, strict=True):
        axes.set_ylabel(label)
