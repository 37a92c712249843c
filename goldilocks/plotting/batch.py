"""Writing figures as SVG: the same bytes every time, and many of them on two cores."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext
from matplotlib.transforms import Bbox

from goldilocks.core import files
from goldilocks.core.progress import Progress
from goldilocks.plotting.compact import compact

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
KNOWN: dict[str, Callable[[], Figure]] = {}
"""In the processes of `draw_all`: what they draw. They inherit it, since functions with their tables can't be sent."""


def draw_all(figures: Mapping[str, Callable[[], Figure]], folder: Path, dpi: int) -> None:
    """Draw and write figures by name, in two processes; each takes the next that is left.

    Raises:
        OSError: if a figure could not be written.
    """
    fork = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(2, fork, initializer=KNOWN.update, initargs=(figures,)) as pool,
        Progress("figures", len(figures), "figure") as progress,
    ):
        for _ in pool.map(partial(_draw, folder, dpi), figures):
            progress.add(1)


def _draw(folder: Path, dpi: int, name: str) -> None:
    files.write_text(folder / f"{name}.svg", svg(KNOWN[name](), dpi))


def svg(figure: Figure, dpi: int) -> str:
    """A figure as SVG; `dpi` is the resolution of what is rasterised."""
    for axes in figure.axes:
        prepare(axes)
    drawn = io.StringIO()
    figure.set_dpi(dpi)
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return compact(drawn.getvalue(), figure.get_suptitle().replace("\n", " "), str(figure.get_label()))


def prepare(axes: Axes) -> None:
    """Spare what would take most of the time: minor ticks, layout of spines, formulas as labels, and repetitions."""
    axes.minorticks_off()
    for spine in axes.spines.values():
        spine.set_in_layout(False)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter(FuncFormatter(power_of_ten))
    measure_once(axes)


def measure_once(axes: Axes) -> None:
    """Measure only once how far labels reach beyond their axes, which layout asks again after it has moved them."""
    measure = axes.get_tightbbox
    beyond: list[np.ndarray] = []

    def get_tightbbox(renderer: Any = None, **how: Any) -> Any:
        if not beyond and (found := measure(renderer, **how)):
            beyond.append(np.subtract(found.extents, axes.bbox.extents))
        return Bbox.from_extents(*np.add(axes.bbox.extents, beyond[0])) if beyond else None

    axes.get_tightbbox = get_tightbbox  # type: ignore[method-assign]


def power_of_ten(value: float, _position: int = 0) -> str:
    """The label of a tick on a logarithmic axis: plain from 0.01 to 100, a power of ten beyond; others have none."""
    if not value or not np.isclose(np.log10(abs(value)) % 1, (0, 1)).any():
        return "" if value else "0"
    power = round(np.log10(abs(value)))
    plain = f"{abs(value):g}" if -2 <= power <= 2 else "10" + str(power).translate(RAISED)
    return f"−{plain}" if value < 0 else plain
