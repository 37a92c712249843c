"""One style for every figure: safe for colour-blind readers, consistent colours, the same bytes every time."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext
from matplotlib.transforms import Bbox

from goldilocks.plotting.compact import compact
from goldilocks.plotting.palette import GREY, ORDERED, ORDERED_TO, PALE

Colour = tuple[float, float, float]

TITLE, TEXT, SMALL = 14, 12, 11  # points, in figures seven inches wide: 8 pixels of a telephone's 360 at least
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
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


def darken_for_text(colour: str | Colour) -> Colour:
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


def headline(figure: Figure, title: str, note: str = "", description: str = "") -> None:
    """Put a title above a figure and a note below it, and describe it for those who can't see it.

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


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, str | Colour]], axes_height: float) -> None:
    """Label lines at the right edge of their axes, in their colours; labels that would overlap are pushed apart.

    If there is no room for all labels, every second or third line and so on gets one.

    Args:
        ends: last value (finite and on the axis) and colour of each line.
        axes_height: of about how many points.
    """
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_ylim()))
    fit = max(1, int(axes_height / (1.25 * SMALL)))
    names = sorted(list(ends)[:: -(-len(ends) // fit)], key=lambda name: ends[name][0])
    found = scale.transform(np.array([ends[name][0] for name in names]))
    heights = space_apart((found - low) / (high - low), 1.25 * SMALL / axes_height)
    for name, height in zip(names, heights, strict=True):
        annotate_right(axes, name, (1, height), ends[name][1])


def annotate_right(axes: Axes, text: str, at: tuple[float, float], colour: str | Colour) -> None:
    """Write a text in its colour to the right of a point, whose coordinates are fractions of the axes."""
    axes.annotate(
        text,
        at,
        xycoords="axes fraction",
        xytext=(4, 0),
        textcoords="offset points",
        color=darken_for_text(colour),
        va="center",
    )


def space_apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Move ascending heights as little as possible until neighbours are a gap apart, within 0 to 1 if they fit."""
    groups: list[tuple[float, int]] = []  # mean of the heights less their gaps, and their number
    for i, height in enumerate(heights):
        mean, size = float(height) - i * gap, 1
        while groups and groups[-1][0] >= mean:
            before, more = groups.pop()
            mean, size = (mean * size + before * more) / (size + more), size + more
        groups.append((mean, size))
    moved: np.ndarray = np.repeat([mean for mean, _ in groups], [size for _, size in groups])
    free = max(0.0, 1 - gap * (len(heights) - 1))
    placed: np.ndarray = np.clip(moved, 0, free) + gap * np.arange(len(heights))
    return placed


def format_number(value: float) -> str:
    """A number as titles show it: two digits, or whole from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def key(axes: Axes, colours: Mapping[str, str | Colour], corner: str = "upper right") -> None:
    """A legend of coloured names, one below the other, in an empty corner of the axes or beside it."""
    vertical, side = corner.split()
    right, outside = float(side != "left"), side == "outside"
    names = list(colours)
    for i, name in enumerate(names):
        down = 2 + 1.3 * SMALL * (i if vertical == "upper" else len(names) - 1 - i)
        axes.annotate(
            name, (right, float(vertical == "upper")), xycoords="axes fraction", ha="left" if outside else side,
            xytext=(-3 if side == "right" else 4, -down if vertical == "upper" else down), textcoords="offset points",
            va="top" if vertical == "upper" else "bottom", color=darken_for_text(colours[name]),
        )  # fmt: skip


def panel_height(figure: Figure, rows: int = 1) -> float:
    """About how many points high each row of panels is."""
    return (72 * figure.get_figheight() - 5 * TITLE) / rows - 3.5 * TEXT


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


def label_edges(grid: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Label the x axis of each column's lowest panel and the y axes of the first column."""
    for column in grid.T:
        [axes for axes in column if axes.get_visible()][-1].set_xlabel(xlabel)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)


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


def power_of_ten(value: float, _position: int = 0) -> str:
    """The label of a tick on a logarithmic axis: plain from 0.01 to 100, a power of ten beyond; others have none."""
    if not value or not np.isclose(np.log10(abs(value)) % 1, (0, 1)).any():
        return "" if value else "0"
    power = round(np.log10(abs(value)))
    plain = f"{abs(value):g}" if -2 <= power <= 2 else "10" + str(power).translate(RAISED)
    return f"−{plain}" if value < 0 else plain
