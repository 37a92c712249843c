"""Figures of LayerNorm parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from goldilocks.plotting.palette import BLACK, BLUE, GREY, KINDS, PLACES, RED
from goldilocks.plotting.style import headline, key, subplots, write

FINAL, BEFORE = -1, -2
RANGES = {"gamma": (0.0, 3.0), "beta": (-5.0, 5.0)}
EDGES = 100
NAMES = {"gamma": "γ", "beta": "β"}
QUANTILES = ("q05", "q25", "q50", "q75", "q95")
BAND = "#D9E8F2"


def clipped_counts(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Counts in the bins of `edges`, and how many values lie below and above them."""
    counts, _ = np.histogram(values, edges)
    return counts, int((values < edges[0]).sum()), int((values > edges[-1]).sum())


def _grid(table: pd.DataFrame, title: str) -> tuple[Figure, list[tuple[Axes, str, str, pd.DataFrame]]]:
    """A figure with a row for each model, γ left and β right, and its panels: axes, model, kind and values of each."""
    models = list(dict.fromkeys(table["model"]))
    figure, grid = subplots(0.36 * len(models), len(models), 2, inches=0.7, squeeze=False)
    found = []
    for row, model in enumerate(models):
        for column, kind in enumerate(RANGES):
            chosen = table[(table["model"] == model) & (table["kind"] == kind) & np.isfinite(table["value"])]
            if chosen.empty:
                grid[row, column].set_axis_off()
            else:
                grid[row, column].set_title(f"{model}: {title.format(n=len(chosen), kind=NAMES[kind])}")
                found.append((grid[row, column], model, kind, chosen))
    return figure, found


def _medians(table: pd.DataFrame) -> str:
    """The medians of γ and β, in words."""
    found = table[np.isfinite(table["value"])].groupby("kind", sort=False)["value"].median()
    return " and ".join(f"{NAMES[kind]} around {found[kind]:.2g}" for kind in RANGES if kind in found)


def histograms(table: pd.DataFrame) -> Figure:
    """Experiment 4: histograms of γ and β of every model with the articles' 100 edges; red bars count values beyond."""
    figure, parts = _grid(table, "{n:,} {kind}")
    for axes, _, kind, chosen in parts:
        edges, step = np.linspace(*RANGES[kind], EDGES, retstep=True)
        counts, below, above = clipped_counts(chosen["value"].to_numpy(), edges)
        axes.stairs(counts, edges, fill=True, color=KINDS[kind])
        for count, left, side in ((below, edges[0] - 3 * step, "left"), (above, edges[-1] + step, "right")):
            if count:
                axes.bar(left, count, 2 * step, align="edge", color=RED)
                write(axes, f"{count} beyond", (left + step, count), RED, (0, 3), ha=side, va="baseline")
        axes.set(yscale="log", ylim=(0.7, None), xlabel=f"{NAMES[kind]} (no unit)", ylabel="parameters per bin")
    return headline(
        figure,
        f"LayerNorm's {_medians(table)}",
        "Medians, in the title of all models. Counts are logarithmic; orange bars hold what lies beyond the axis.",
        "A row of two histograms for each model.",
    )


def by_block(table: pd.DataFrame) -> Figure:
    """γ and β by block: median and the 5-95 % range; norms outside the blocks are at the ends."""
    figure, parts = _grid(table, "{kind}")
    rows = {model: axes for axes, model, _, _ in parts}  # the last axes of each
    for axes, model, kind, chosen in parts:
        blocks = int(chosen["block"].max()) + 1
        places = {place: PLACES.get(place, GREY) for place in dict.fromkeys(chosen["place"])}
        for place, colour in places.items():
            of_place = chosen[chosen["place"] == place]
            part = of_place.groupby("block")["value"].quantile([0.05, 0.5, 0.95]).unstack()
            x = [{FINAL: blocks, BEFORE: -1}.get(block, block) for block in part.index]
            axes.vlines(x, part[0.05], part[0.95], color=colour, lw=1.2)
            axes.plot(x, part[0.5], "o-", ms=4, lw=1, color=colour)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set(xlabel="block", ylabel=f"{NAMES[kind]} (no unit)")
        if rows[model] is axes:
            key(axes, places, "upper outside")
    return headline(
        figure,
        f"LayerNorm's {_medians(table)}, block by block",
        "Dots: medians; lines: from the 5 % to the 95 % quantile. The final norm stands after the last block.",
        "A row of two panels for each model, γ left and β right.",
    )


def by_model(table: pd.DataFrame, start: float, end: float, references: Mapping[str, Mapping[str, float]]) -> Figure:
    """γ of every model: median, quartiles and the 5-95 % range, and the range that the articles name.

    Args:
        references: q05, q25, q50, q75, q95 and share_in_range of checkpoints whose γ were measured elsewhere, by name.
    """
    gamma = table[(table["kind"] == "gamma") & np.isfinite(table["value"])]
    rows = dict(references)
    for model, values in gamma.groupby("model", observed=True, sort=False)["value"]:
        quantiles = np.percentile(values, (5, 25, 50, 75, 95))
        rows[str(model)] = dict(zip(QUANTILES, quantiles, strict=True)) | {
            "share_in_range": float(values.between(start, end).mean())
        }
    figure, axes = subplots(0.055 * len(rows), inches=1.9)
    axes.axvspan(start, end, color=BAND, lw=0)
    axes.axvline(1, color=GREY, lw=1)
    for y, (model, row) in enumerate(rows.items()):
        colour = BLUE if model in references else KINDS["gamma"]
        axes.plot([row["q05"], row["q95"]], [y, y], color=colour, lw=1.5)
        axes.plot([row["q25"], row["q75"]], [y, y], color=colour, lw=6)
        axes.plot(row["q50"], y, "o", color="white", mec=colour)
        at = 1, 1 - (y + 0.8) / (len(rows) + 0.4)
        write(axes, percent(row["share_in_range"]), at, colour, xycoords="axes fraction")
    axes.set(
        yticks=range(len(rows)), yticklabels=list(rows), xlabel="γ (no unit)",
        ylabel="model", ylim=(len(rows) - 0.4, -0.8),
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    write(axes, "the articles' range", (start, -0.5), BLACK, (2, 0))
    most = [model for model, row in rows.items() if row["share_in_range"] > 0.5]
    return headline(
        figure,
        f"{'Only ' * (len(most) == 1)}{' and '.join(most) or 'No model'} has most γ in {start:g} to {end:g}",
        "At the right: the share in that range. Dot: median; thick: quartile to quartile; thin: from the 5 % to the "
        "95 % quantile. Blue: measured on OpenAI's public weights, not in this run. Training starts at γ = 1.",
        "A row for each model.",
    )


def percent(share: float) -> str:
    """A share in per cent, with two digits."""
    return f"{100 * share:.0f}\u00a0%" if share >= 0.0995 or not share else f"{100 * share:.2g}\u00a0%"
