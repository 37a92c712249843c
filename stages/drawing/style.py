"""One style for every figure: colour-blind safe, the same colour for the same thing, the same bytes every time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.common import files
from stages.common.cli import UserError
from stages.common.progress import Progress

# Okabe & Ito's palette, which readers with any colour vision can tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000",
)  # fmt: skip
GREY = "#777777"
SEQUENCE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
ORDERED = "viridis"

SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "goldilocks",
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("agg")
        for name, value in SETTINGS.items():
            mpl.rcParams[name] = value  # type: ignore[index]
        yield


def ordered_colours(n: int) -> list[tuple[float, ...]]:
    """n colours for an ordered quantity, dark to light, the palest left out."""
    return [tuple(colour) for colour in mpl.colormaps[ORDERED](np.linspace(0, 0.88, n))]


def label_line(axes: Axes, x: float, y: float, text: str, colour: str | tuple[float, ...]) -> None:
    """Name a line at its right end, in its colour."""
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", color=colour, va="center", fontsize=9)


def early_steps(axes: Axes, last: int, digits: tuple[int, ...] = (1, 2, 5)) -> None:
    """A step axis that opens up the start: even from 0 to 1, logarithmic from there to the last step.

    Args:
        digits: which leading digits of steps have a label.
    """
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    powers = range(len(str(last)))
    ticks = [0, *(digit * 10**power for power in powers for digit in digits if digit * 10**power <= max(last, 1))]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(left=-0.15)


def small_multiples(n: int, width: float, columns: int = 3) -> tuple[Figure, np.ndarray]:
    """A figure of n panels, at most so many in a row, that share their axes, and its grid; the rest is hidden."""
    columns = min(columns, n)
    rows = -(-n // columns)
    figure = Figure(figsize=(width, 0.9 / columns * width * rows + 0.3), layout="constrained")
    grid: np.ndarray = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    return figure, grid


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write an SVG without date or creator's version, and without minor ticks: to lay them out takes longest of all."""
    for axes in figure.axes:
        axes.minorticks_off()
    with files.atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg", dpi=dpi, metadata={"Date": None, "Creator": None})


def draw_all(figures: Mapping[str, Callable[[], Figure]], folder: Path, dpi: int) -> None:
    """Draw and write figures by name, half of them in a second process where one can be forked.

    Raises:
        UserError: if the second process could not write its half.
    """
    names = list(figures)

    def write(some: list[str]) -> None:
        with Progress("figures", len(some), "figure") as progress:
            for name in some:
                save(figures[name](), folder / f"{name}.svg", dpi)
                progress.add(1)

    if sys.platform != "linux":
        write(names)
        return
    context = multiprocessing.get_context("fork")
    told, tell = context.Pipe(duplex=False)

    def write_other_half() -> None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  one of the two shows how far it is
        try:
            write(names[1::2])
        except OSError as error:
            tell.send(str(error))
            os._exit(1)

    second = context.Process(target=write_other_half)
    second.start()
    write(names[::2])
    second.join()
    if second.exitcode:
        raise UserError(told.recv() if told.poll() else f"figures: the second process ended with {second.exitcode}")
