"""What is wrong with a figure, as far as it can be measured: for the tests of every figure."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

LEAST_SIZE, MOST_ENTRIES = 7, 4
TOUCHING = 0.5  # points that two boxes may share, which have air around their letters


def texts(figure):
    """Every text that is drawn."""
    hidden = set()
    for axes in figure.axes:
        if not axes.get_visible() or not axes.axison:
            hidden |= set(axes.findobj(Text)) - (set(axes.texts) if axes.get_visible() else set())
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            margin = 1e-9 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low - margin <= tick.get_loc() <= high + margin:
                    hidden |= {tick.label1, tick.label2}
    found = figure.findobj(lambda one: isinstance(one, Text) and one.get_visible() and one.get_text().strip())
    return [text for text in found if text not in hidden]


def labels_missing(figure):
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.axison]
    for axes in shown:
        bar = axes.get_label() == "<colorbar>"
        place = axes.get_subplotspec()
        edges = (place is None or place.is_last_row(), place is None or place.is_first_col())
        for name, axis, edge in zip("xy", (axes.xaxis, axes.yaxis), edges, strict=True):
            ticks = [tick.get_text() for tick in axis.get_ticklabels()]
            named = any(text[:1].isalpha() for text in ticks)  # names of rows say what they are
            if edge and not bar and not named and not axis.get_label_text():
                yield f"no label on {name} of {axes.get_title() or axes}"


def troubles(figure):
    """What is wrong with a figure, in words."""
    for axes in figure.axes:
        axes.minorticks_off()
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    renderer, point = canvas.get_renderer(), figure.dpi / 72
    found = list(labels_missing(figure))
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    found += ["too long a legend" for legend in legends if len(legend.get_texts()) > MOST_ENTRIES]
    boxes = []
    for text in texts(figure):
        box, said = text.get_window_extent(renderer), " ".join(text.get_text().split())
        if text.get_fontsize() < LEAST_SIZE:
            found.append(f"small: {said}")
        if box.x0 < -point or box.y0 < -point or box.x1 > figure.bbox.x1 + point or box.y1 > figure.bbox.y1 + point:
            found.append(f"cut off: {said}")
        boxes.append((said, box))
    for (one, a), (other, b) in combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > TOUCHING * point and down > TOUCHING * point:
            found.append(f"one over the other: {one} | {other}")
    return found
