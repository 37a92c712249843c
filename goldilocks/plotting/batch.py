"""Writing figures as SVG: the same bytes every time, and many of them on two cores."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext
from matplotlib.transforms import Bbox

from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.core.progress import Progress
from goldilocks.plotting.compact import compact

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_all(figures: Mapping[str, Callable[[], Figure]], folder: Path, dpi: int) -> None:
    """Draw and write figures by name, together with a second process; each takes the next that is left.

    Raises:
        OSError: if a figure could not be written, by either process.
        UserError: if the second process ended otherwise.
    """
    names = list(figures)
    fork = multiprocessing.get_context("fork")
    begun, failures = fork.Value("i", 0), fork.SimpleQueue()

    def draw(progress: Progress | None = None) -> None:
        done = 0
        while True:
            with begun.get_lock():
                at, begun.value = min(begun.value, len(names)), begun.value + 1
            if progress:
                progress.add(at - done)
            if at == len(names):
                return
            done = at
            files.write_text(folder / f"{names[at]}.svg", svg(figures[names[at]](), dpi))

    def help_out() -> None:
        try:
            draw()
        except OSError as error:
            failures.put(error)

    second = fork.Process(target=help_out)
    second.start()
    try:
        with Progress("figures", len(names), "figure") as progress:
            draw(progress)
    finally:
        second.join()
    if not failures.empty():
        raise failures.get()
    if second.exitcode:
        raise UserError(f"figures: the second process ended with {second.exitcode}")


def svg(figure: Figure, dpi: int) -> str:
    """A figure as SVG; `dpi` is the resolution of what is rasterised."""
    for axes in figure.axes:
        prepare(axes)
    drawn = io.StringIO()
    figure.set_dpi(72)
    width, height = figure.get_size_inches()
    nameless = {"Date": None, "Creator": None}
    vectors = RendererSVG(72 * width, 72 * height, drawn, image_dpi=dpi, metadata=nameless)  # type: ignore[no-untyped-call]
    renderer: Any = MixedModeRenderer(figure, width, height, dpi, vectors)  # type: ignore[no-untyped-call]
    canvas: Any = FigureCanvasSVG(figure)
    canvas.get_renderer = lambda: renderer  # for the layout, so that no text is measured twice
    figure.draw(renderer)
    renderer.finalize()
    return compact(drawn.getvalue(), figure.get_suptitle().replace("\n", " "), str(figure.get_label()))


def prepare(axes: Axes) -> None:
    """Spare what would take most of the time: minor ticks, layout of spines, formulas as labels, and repetitions."""
    axes.minorticks_off()
    for spine in axes.spines.values():
        spine.set_in_layout(False)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter(FuncFormatter(power_of_ten))
        for name in ("_update_ticks", "_get_ticklabel_bboxes"):
            remember(axis, name)
    measure_once(axes)


def remember(axis: Axis, name: str) -> None:
    """Let a method of an axis, which drawing calls about six times, compute once for each view and size of the axes."""
    compute = getattr(axis, name)
    known: dict[tuple[float, ...], Any] = {}

    def recalled(*arguments: Any) -> Any:
        state = (*axis.get_view_interval(), *axis.axes.bbox.extents)
        if state not in known:
            known.clear()
            known[state] = compute(*arguments)
        return known[state]

    setattr(axis, name, recalled)


def measure_once(axes: Axes) -> None:
    """Measure only once how far labels reach beyond their axes, which layout asks again after it has moved them."""
    measure = axes.get_tightbbox
    beyond: list[np.ndarray] = []

    def get_tightbbox(renderer: Any = None, **how: Any) -> Any:
        if not beyond:
            found = measure(renderer, **how)
            if found is None:
                return None
            beyond.append(np.subtract(found.extents, axes.bbox.extents))
        return Bbox.from_extents(*np.add(axes.bbox.extents, beyond[0]))

    axes.get_tightbbox = get_tightbbox  # type: ignore[method-assign]


def power_of_ten(value: float, _position: int = 0) -> str:
    """The label of a tick on a logarithmic axis: plain from 0.01 to 100, a power of ten beyond; others have none."""
    if not value or not np.isclose(np.log10(abs(value)) % 1, (0, 1)).any():
        return "" if value else "0"
    power = round(np.log10(abs(value)))
    plain = f"{abs(value):g}" if -2 <= power <= 2 else "10" + str(power).translate(RAISED)
    return f"−{plain}" if value < 0 else plain
