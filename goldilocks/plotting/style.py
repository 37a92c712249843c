"""One style for every figure, safe for colour-blind readers, and what figures are made of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from goldilocks.plotting.palette import GREY, ORDERED, ORDERED_TO, PALE

Colour = str | tuple[float, float, float]

TITLE, TEXT, SMALL = 14, 12, 11  # points, in figures seven inches wide: 8 pixels of a telephone's 360 at least
CHARACTER = 0.54  # average width of a character, as a share of the text's size

SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelsize": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titley": 1.0,  # where it would be moved to after measuring all that is above the axes
    "axes.titlesize": TEXT,
    "figure.constrained_layout.use": True,
    "figure.titlesize": TITLE,
    "font.size": SMALL,
    "grid.color": PALE,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.solid_capstyle": "butt",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.hashsalt": "goldilocks",
    "xtick.bottom": False,  # lines of the grid are enough
    "xtick.labelsize": SMALL,
    "ytick.left": False,
    "ytick.labelsize": SMALL,
}


@contextmanager
def applied(width: float = 7.0) -> Iterator[None]:
    """Draw in this style, whatever the user's matplotlibrc says, figures so many inches wide."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("agg")
        for name, value in {**SETTINGS, "figure.figsize": (width, width)}.items():
            mpl.rcParams[name] = value  # type: ignore[index]
        yield


def new_figure(height: float, inches: float = 0.0) -> Figure:
    """A figure as wide as `applied` says; `height` times as high, and so many inches more."""
    width = mpl.rcParams["figure.figsize"][0]
    return Figure(figsize=(width, height * width + inches))


def subplots(height: float, rows: int = 1, columns: int = 1, inches: float = 0.0, **how: Any) -> tuple[Figure, Any]:
    """A new figure and its panels: axes or an array of them, as Matplotlib's `subplots` gives them."""
    figure = new_figure(height, inches)
    return figure, figure.subplots(rows, columns, **how)


def ordered_colours(n: int) -> list[Colour]:
    """n colours for an ordered quantity, from dark to light, without those that are too pale on white."""
    return [(float(r), float(g), float(b)) for r, g, b, _ in mpl.colormaps[ORDERED](np.linspace(0, ORDERED_TO, n))]


def darken_for_text(colour: Colour) -> Colour:
    """Darken a colour until text in it has a contrast of 4.5 to 1 on white."""
    r, g, b = to_rgb(colour)
    while luminance(np.array([r, g, b])) > 1.05 / 4.5 - 0.05:
        r, g, b = 0.95 * r, 0.95 * g, 0.95 * b
    return r, g, b


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Linear intensities, from 0 to 1, of an sRGB colour."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def luminance(colour: np.ndarray) -> float:
    return float(srgb_to_linear(colour) @ (0.2126, 0.7152, 0.0722))


def headline(figure: Figure, title: str, note: str = "", description: str = "") -> Figure:
    """The figure with a title above and a note below it, and described for those who can't see it.

    Args:
        description: what is drawn, in a sentence or two; screen readers read it after the title and the note.
    """
    width = 72 * figure.get_figwidth() / CHARACTER
    title, note = (re.sub(r"(\d) %", "\\1\u00a0%", text) for text in (title, note))  # stay on one line
    figure.suptitle(textwrap.fill(title, int(width / TITLE)), x=0.01, ha="left")
    if note:
        wrapped = textwrap.fill(note, int(width / SMALL))
        figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=SMALL, color=darken_for_text(GREY))
    figure.set_label(" ".join(part for part in (note, description) if part))
    return figure


def write(
    axes: Axes, text: str, at: tuple[float, float], colour: Colour, by: tuple[float, float] = (4, 0), **how: Any
) -> None:
    """Write a text in its colour, so many points from a point of the data, or of what `xycoords` says."""
    how = {"va": "center"} | how
    axes.annotate(text, at, xytext=by, textcoords="offset points", color=darken_for_text(colour), **how)


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, Colour]]) -> None:
    """Label lines at the right edge of their axes, in their colours; labels that would overlap are pushed apart.

    If there is no room for all labels, every second or third line and so on gets one.

    Args:
        ends: last value (finite and on the axis) and colour of each line.
    """
    rows = axes.get_subplotspec().get_gridspec().nrows  # type: ignore[union-attr]
    height = (72 * axes.figure.bbox.height / axes.figure.dpi - 5 * TITLE) / rows - 3.5 * TEXT  # about so many points
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_ylim()))
    fit = max(1, int(height / (1.25 * SMALL)))
    names = sorted(list(ends)[:: -(-len(ends) // fit)], key=lambda name: ends[name][0])
    found = scale.transform(np.array([ends[name][0] for name in names]))
    placed = space_apart((found - low) / (high - low), 1.25 * SMALL / height)
    for name, y in zip(names, placed, strict=True):
        write(axes, name, (1, y), ends[name][1], xycoords="axes fraction")


def space_apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Move ascending heights as little as possible until neighbours are a gap apart, within 0 to 1 if they fit."""
    gaps = gap * np.arange(len(heights))
    moved: np.ndarray = np.clip(isotonic_regression(heights - gaps).x, 0, max(0.0, 1 - gaps[-1])) + gaps
    return moved


def format_number(value: float) -> str:
    """A number as titles show it: two digits, or whole from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def key(axes: Axes, colours: Mapping[str, Colour], corner: str = "upper right") -> None:
    """A legend of coloured names, one below the other, in an empty corner of the axes or beside it."""
    vertical, side = corner.split()
    upper, at = vertical == "upper", (float(side != "left"), float(vertical == "upper"))
    right, ha, va = -3 if side == "right" else 4, "left" if side == "outside" else side, "top" if upper else "bottom"
    for i, (name, colour) in enumerate(colours.items()):
        down = -2 - 1.3 * SMALL * i if upper else 2 + 1.3 * SMALL * (len(colours) - 1 - i)
        write(axes, name, at, colour, (right, down), xycoords="axes fraction", ha=ha, va=va)


def early_steps(axes: Axes, last: int, digits: tuple[int, ...] = (1, 2, 5)) -> None:
    """A step axis that gives the start more room: linear from 0 to 1, then logarithmic to the last step.

    Args:
        digits: leading digits of the steps that have a label.
    """
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    powers = range(len(str(last)))
    ticks = [0, *(digit * 10**power for power in powers for digit in digits if digit * 10**power <= max(last, 1))]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlim(left=-0.15)


def small_multiples(n: int) -> tuple[Figure, np.ndarray]:
    """A figure of n panels that share their axes, and its grid, whose other panels are hidden."""
    columns = min(3, n)
    rows = -(-n // columns)
    height = min(0.9 / columns, 0.5) * rows
    figure, grid = subplots(height, rows, columns, inches=0.8, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    for axes in grid[-2, n - (rows - 1) * columns :] if rows > 1 else ():
        axes.tick_params(labelbottom=True)  # no panel is below it
    return figure, grid


def block_panels(table: pd.DataFrame) -> tuple[Figure, np.ndarray, list[tuple[Axes, Any, pd.DataFrame]]]:
    """A figure with a panel for each block of a table, the grid of panels, and of each its axes, block and rows."""
    by_block = table.groupby("block")
    figure, grid = small_multiples(len(by_block))
    panels = [(axes, block, rows) for axes, (block, rows) in zip(grid.flat, by_block, strict=False)]
    for axes, block, _ in panels:
        axes.set_title(f"block {block}")
    return figure, grid, panels


def line_with_band(
    axes: Axes, rows: pd.DataFrame, colour: Colour, alpha: float, width: float = 1.5
) -> tuple[float, Colour]:
    """Draw a mean over steps and its interval, columns step, mean, low and high; return its end for `name_ends`."""
    axes.plot(rows["step"], rows["mean"], lw=width, color=colour)
    axes.fill_between(rows["step"], rows["low"], rows["high"], color=colour, alpha=alpha, lw=0)
    return float(rows["mean"].iloc[-1]), colour


def dimension_axis(axes: Axes, labelled: Iterable[int], label: str) -> None:
    """A logarithmic axis of dimensions, some of them labelled."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(labelled), [f"{d:,}" for d in labelled])
    axes.set_xlabel(label)


def label_edges(grid: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Label the x axis of each column's lowest panel and the y axes of the first column."""
    for column in grid.T:
        [axes for axes in column if axes.get_visible()][-1].set_xlabel(xlabel)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
