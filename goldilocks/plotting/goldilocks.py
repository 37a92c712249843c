"""Figures of the map over dimensions and logit scales, and of the Goldilocks zone in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from goldilocks.plotting.palette import BLACK, GREY, ORDERED, RED, SCALINGS
from goldilocks.plotting.style import (
    dimension_axis,
    headline,
    key,
    label_edges,
    name_ends,
    ordered_colours,
    subplots,
    write,
)
from goldilocks.softmax.scalings import EXPONENTS, FACTORS

ZONE = "#BFBFBF"


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


def heat_maps(cells: pd.DataFrame, zone: pd.DataFrame) -> Figure:
    """Gradient, discrimination, entropy and Jacobian over d and s, for the middle length and the lowest correlation."""
    lengths = sorted(cells["length"].unique())
    n, rho = lengths[len(lengths) // 2], cells["correlation"].min()
    shown, edges = (t[(t["length"] == n) & (t["correlation"] == rho)] for t in (cells, zone))
    panels = (
        ("relative_gradient", "gradient / an even softmax's", Normalize(0, 1)),
        ("discrimination", "largest probability · n", LogNorm(1, n)),
        ("normalised_entropy", "entropy / ln n", Normalize(0, 1)),
        ("jacobian_norm", "‖softmax Jacobian‖", Normalize(0, shown["jacobian_norm"].max())),
    )
    figure, grid = subplots(0.95, 2, 2, sharex=True, sharey=True)
    for axes, (name, title, norm) in zip(grid.flat, panels, strict=True):
        values = shown.pivot(index="exponent", columns="dimension", values=name).sort_index(ascending=False)
        x, y = corners(values.columns.to_numpy(), values.index.to_numpy())
        image = axes.pcolormesh(x, y, values.to_numpy(), norm=norm, cmap=ORDERED, rasterized=True)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.grid(visible=False)
        _scales(axes, edges["dimension"].to_numpy(), named=True, outlined="white")
        for edge in ("lower", "upper"):
            known = edges[edge].where(~edges[f"{edge}_beyond"])
            axes.plot(edges["dimension"], known, color="white", lw=2, path_effects=_outline(BLACK))
        axes.set_title(title)
    _scale_axes(grid[0, 0], edges["dimension"].to_numpy(), labels=3)
    label_edges(grid, "dimension d", "logit scale s (no unit)")
    return headline(
        figure,
        f"Where softmax learns and tells entries apart: n = {n} keys, ρ = {rho:g}",
        "Of softmax(s·qKᵀ). White lines: the edges of the Goldilocks zone.",
        "Four heat maps over dimension d and logit scale s with the scales 1, 1/√d and 1/d as lines.",
    )


def zones(zone: pd.DataFrame, least_gradient: float, least_discrimination: float) -> Figure:
    """The zone over d and s, a row of panels for each length and a column for each correlation."""
    lengths, correlations = (list(dict.fromkeys(zone[name])) for name in ("length", "correlation"))
    shape = len(lengths), len(correlations)
    figure, grid = subplots(0.26 * len(lengths), *shape, inches=1.6, sharex=True, sharey=True, squeeze=False)
    for row, n in zip(grid, lengths, strict=True):
        for axes, rho in zip(row, correlations, strict=True):
            part = zone[(zone["length"] == n) & (zone["correlation"] == rho)]
            top = np.maximum(part["lower"], part["upper"])  # where there is no zone, nothing is shaded
            axes.fill_between(part["dimension"], part["lower"], top, facecolor=ZONE, edgecolor=GREY, lw=0.8)
            _scales(axes, part["dimension"].to_numpy(), named=axes is row[-1])
        row[0].set_ylabel(f"n = {n} keys\nlogit scale s")
    for axes, rho in zip(grid[0], correlations, strict=True):
        axes.set_title(f"ρ = {rho:g}")
    _scale_axes(grid[0, 0], part["dimension"].to_numpy(), labels=2)
    for axes in grid[-1]:
        axes.set_xlabel("dimension d")
    learns = f"gradient at least {least_gradient:g} of an even softmax's"
    return headline(
        figure,
        _scales_in_zone(zone),
        f"Grey, the zone: {learns}, largest probability at least {least_discrimination:g}/n. "
        "ρ: correlation of the query with the key at its own position.",
        "Panels over d and s, a row for each number of keys n and a column for each correlation ρ.",
    )


def two_needs(cells: pd.DataFrame, least_gradient: float, least_discrimination: float) -> Figure:
    """Loss gradient (left) and discrimination (right) by d for each scaling, at the middle length."""
    lengths = sorted(cells["length"].unique())
    n, rho = lengths[len(lengths) // 2], cells["correlation"].min()
    shown = cells[(cells["length"] == n) & (cells["correlation"] == rho)].set_index("exponent").sort_index()
    needs = {"relative_gradient": ("loss gradient / an even softmax's", least_gradient),
             "discrimination": ("largest probability · n", least_discrimination)}  # fmt: skip
    figure, panels = subplots(0.5, 1, 2, inches=0.4)
    for axes, (quantity, (label, least)) in zip(panels, needs.items(), strict=True):
        axes.axhline(least, color=BLACK, lw=1, ls=":")
        for name, exponent in EXPONENTS.items():
            line = shown.loc[exponent].sort_values("dimension")
            lower = name == "scaled_by_d"  # where 1/√d would cover it
            size = {"lw": 3, "ms": 6.5} if lower else {"lw": 1.5, "ms": 4, "zorder": 3}
            axes.plot(line["dimension"], line[quantity], "o-", color=SCALINGS[name], **size)
        dimension_axis(axes, sorted(shown["dimension"].unique())[::3], "dimension d")
        axes.set_title(label)
    panels[0].set(ylim=(0, 1.05), ylabel="share of an even softmax's")
    panels[1].set(yscale="log", ylabel="multiple of an even softmax's")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= n]
    panels[1].set_yticks(ticks, [str(tick) for tick in ticks])
    key(panels[0], {f"q·k · {FACTORS[name]}": SCALINGS[name] for name in EXPONENTS}, "lower left")
    met = (shown[list(needs)] >= [least for _, least in needs.values()]).all(axis=1).groupby("exponent").all()
    both = [FACTORS[name] for name, exponent in EXPONENTS.items() if met[exponent]]
    return headline(
        figure,
        f"Both a gradient and a choice at every d: {'only ' * (len(both) == 1)}{' and '.join(both) or 'no scaling'}",
        f"{n} keys, ρ = {rho:g}. Dotted: what the Goldilocks zone asks for, {least_gradient:g} of an even softmax's "
        f"gradient and {least_discrimination:g} times its largest probability.",
        "Two panels over d with a line for each scaling.",
    )


def jacobians(cells: pd.DataFrame, at: int, ratio: float) -> Figure:
    """Ratio of softmax's Jacobian norms, unscaled to 1/√d, by d and number of keys, at the lowest correlation.

    Args:
        at: the dimension that the articles look at.
        ratio: what it is there, with the articles' number of keys.
    """
    shown = cells[cells["correlation"] == cells["correlation"].min()]
    norms = shown.pivot(index="dimension", columns=["exponent", "length"], values="jacobian_norm")
    ratios = (norms[EXPONENTS["unscaled"]] / norms[EXPONENTS["scaled"]]).clip(lower=1e-3)  # for the logarithmic axis
    figure, axes = subplots(0.6)
    axes.axhline(1, color=GREY, lw=1)
    axes.axhline(0.5, color=BLACK, lw=1, ls=":")
    ends = {}
    for n, colour in zip(ratios, ordered_colours(ratios.shape[1]), strict=True):
        axes.plot(ratios.index, ratios[n], "o-", ms=4, color=colour)
        ends[f"{n:,} keys"] = float(ratios[n].iloc[-1]), colour
    axes.plot(at, ratio, "D", ms=7, color=RED)
    write(axes, "a half", (0, 0.5), BLACK, (4, 3), xycoords=("axes fraction", "data"), va="baseline")
    axes.set_yscale("log")
    dimension_axis(axes, ratios.index[::2], "dimension d")
    lowest, highest = min(0.5, ratios.min().min()), ratios.max().max()
    ticks = [tick for tick in (0.01, 0.1, 0.5, 1, 2, 5, 10, 100) if lowest <= tick <= highest]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylabel("‖Jacobian‖, unscaled / scaled")
    axes.set_ylim(bottom=min(0.2, axes.get_ylim()[0]))  # room for the name of the point
    key(axes, {f"◆ the articles' d = {at}: {ratio:.2f}": RED}, "lower left")
    name_ends(axes, ends)
    vanish = [f"{n:,}" for n in ratios if (ratios[n] < 0.5).any()]
    return headline(
        figure,
        f"Unscaled, softmax's Jacobian grows, then falls: to half in rows of {' and '.join(vanish) or 'no'} keys",
        f"Norm of softmax's Jacobian, unscaled over scaled by 1/√d, up to d = {ratios.index[-1]:,}.",
        "A line for each number of keys, and the articles' point.",
    )


def _scales_in_zone(zone: pd.DataFrame) -> str:
    """The correlations at which 1/√d and 1/d lie in the zone of every length, at the largest dimension."""
    widest = zone[zone["dimension"] == zone["dimension"].max()]
    d = float(widest["dimension"].iloc[0])
    parts = []
    for name in ("scaled", "scaled_by_d"):
        scale = d ** -EXPONENTS[name]
        inside = (widest["lower"] <= scale) & (scale <= widest["upper"])
        held = [f"{rho:g}" for rho, all_lengths in inside.groupby(widest["correlation"]).all().items() if all_lengths]
        parts.append(f"{FACTORS[name]} for {'ρ = ' + ', '.join(held) if held else 'no ρ'}")
    return f"At d = {d:,.0f} the zone holds {' and '.join(parts)}"


def _scale_axes(axes: Axes, dimensions: np.ndarray, labels: int) -> None:
    """Make the axes that all panels share logarithmic, and label some of the dimensions."""
    labelled = np.linspace(0, dimensions.size - 1, min(labels, dimensions.size)).round().astype(int)
    dimension_axis(axes, dimensions[labelled], "")
    axes.set(yscale="log", ylim=(0.7 / dimensions[-1], 1.4))


def _scales(axes: Axes, dimensions: np.ndarray, named: bool, outlined: str | None = None) -> None:
    """Draw the scales 1, 1/√d and 1/d as lines, which may have their names to the right of the map."""
    axes.grid(visible=False)
    axes.tick_params(bottom=True, left=True)
    for name, exponent in EXPONENTS.items():
        effects = _outline(outlined) if outlined else []
        scales = dimensions**-exponent
        axes.plot(dimensions, scales, color=SCALINGS[name], lw=1.5, path_effects=effects)
        if named:
            write(axes, FACTORS[name], (dimensions[-1], scales[-1]), SCALINGS[name], (8, 0), annotation_clip=False)


def _outline(colour: str) -> list[patheffects.AbstractPathEffect]:
    """An outline, so that a line is visible on any colour of a heat map."""
    return [patheffects.withStroke(linewidth=3.5, foreground=colour)]
