"""Interactive charts: what they show for every position of their controls, and how the page carries it.

A chart is a Vega-Lite specification over the rows of one *frame*. Which frame that is, the reader chooses with sliders
and lists; `explore.js` moves them. Vega does the drawing: what a chart is stands in it as data, it draws into SVG that
takes the page's colours and that screen readers see, one file of a wheel brings all of it, and DVC's own plots are in
its language, too.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stages.common import files

Spec = dict[str, Any]
Columns = Mapping[str, Any]

INK = "currentColor"  # of the page's text, in what is black in the figures, too
LABELS = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
LINES = {"labelColor": INK, "titleColor": INK, "tickColor": INK, "domainColor": INK, "gridColor": INK}
CONFIG: Spec = {
    "axis": {**LABELS, **LINES, "gridOpacity": 0.15},
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "legend": {**LABELS, "labelColor": INK, "orient": "top", "symbolOpacity": 1, "titleColor": INK},
    "text": {"color": INK, "fontSize": 12},
    "title": {"anchor": "start", "color": INK, "fontSize": 13, "fontWeight": "normal"},
    "view": {"stroke": None},
}


class Control(NamedTuple):
    """Something the reader chooses.

    Args:
        name: its name; `explore.js` knows what is chosen under it.
        label: what it is called.
        values: what can be chosen, as the reader sees it.
        start: which of them it is at first.
        slider: whether they have an order to slide along.
        sets: what `explore.js` derives the rows shown with, for each of them; None: it chooses the frame.
    """

    name: str
    label: str
    values: Sequence[str]
    start: int = 0
    slider: bool = False
    sets: Sequence[float | str] | None = None


class Explorer(NamedTuple):
    """Charts with controls.

    Args:
        name: its name in the page, and the figure's that stands in its place without JavaScript.
        title: what it lets the reader do.
        controls: the controls; those that choose the frame come first.
        frame: the columns of the frame at a position of the controls that choose it. Of columns of one length, rows
            are made; a number stands for itself in every row.
        charts: Vega-Lite specifications over the data `frame`.
        about: what screen readers are told each chart shows.
        reference: the position of each control that chooses a frame to compare with; the charts have it as `reference`.
        told: whether `explore.js` has something to say of the rows shown.
        note: how to read the charts; what screen readers are told, if empty.
    """

    name: str
    title: str
    controls: tuple[Control, ...]
    frame: Callable[..., Columns]
    charts: tuple[Spec, ...]
    about: tuple[str, ...]
    reference: Mapping[str, int] = {}
    told: bool = False
    note: str = ""


def chart(height: int, *layers: Spec, **more: Any) -> Spec:
    """A Vega-Lite specification of layers over the frame, as wide as what holds it."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "autosize": {"contains": "padding", "type": "fit-x"},
        "config": CONFIG,
        "data": {"name": "frame"},
        "height": height,
        "layer": list(layers),
        "width": "container",
    } | more


def field(name: str, title: str | None, kind: str = "quantitative", **more: Any) -> Spec:
    """An encoding by a column; `title` None leaves the axis without one."""
    return {"field": name, "title": title, "type": kind} | more


def told(**columns: str) -> list[Spec]:
    """What hovering tells: columns by their names for the reader, numbers to four digits."""
    return [
        {"field": name, "title": title.strip("#"), **({"format": ".4~g"} if title.endswith("#") else {})}
        for name, title in columns.items()
    ]


def eight_bits(values: np.ndarray) -> Columns:
    """Numbers from 0 on as a column of bytes, each to within 1/510 of the largest of them.

    Args:
        values: (n,).
    """
    largest = float(values.max(initial=0.0)) or 1.0
    codes = np.rint(values / largest * 255).astype(np.uint8)
    return {"bytes": base64.b64encode(codes.tobytes()).decode(), "unit": files.significant(largest / 255)}


def words(values: Sequence[str]) -> Columns | Sequence[str]:
    """A column of words; if they are few and repeat, a digit for each, and what they stand for."""
    known = sorted(set(values))
    if len(known) > 10:
        return values
    return {"digits": "".join(str(known.index(value)) for value in values), "words": known}


def packed(explorer: Explorer) -> str:
    """An explorer as the JSON that `explore.js` reads, safe inside of a <script>; frames in the controls' order."""
    positions = [range(len(control.values)) for control in explorer.controls if control.sets is None]
    frames = [_plain(explorer.frame(*position)) for position in itertools.product(*positions)]
    shared = {name for name, column in frames[0].items() if all(frame[name] == column for frame in frames[1:])}
    contents = {
        "charts": explorer.charts,
        "controls": [
            {"name": control.name, "sets": control.sets, "values": list(control.values)}
            for control in explorer.controls
        ],
        "frames": {name: [frame[name] for frame in frames] for name in sorted(frames[0].keys() - shared)},
        "name": explorer.name,
        "reference": dict(explorer.reference) or None,
        "shared": {name: frames[0][name] for name in sorted(shared)},
    }
    text = json.dumps(contents, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("<", "\\u003c")


def _plain(columns: Columns) -> dict[str, Any]:
    """Columns as plain values, numbers to six digits and those that are not finite as nothing."""
    return {name: files.rounded(_listed(column)) for name, column in columns.items()}


def _listed(column: Any) -> Any:
    if isinstance(column, np.ndarray | np.generic):
        column = column.tolist()
    if isinstance(column, list):
        return [_listed(value) for value in column]
    return None if isinstance(column, float) and not np.isfinite(column) else column
