"""Interactive charts: what they show for every position of their controls, as JSON in the page.

A chart is a Vega-Lite specification over the rows of one *frame*. The reader chooses the frame with sliders and lists,
and `explore.js` shows it. Vega-Lite describes charts as data, and Vega draws them as SVG in the page's own colours.

A chart is interactive only if a slider, the map or a choice of model is its point. All others are figures.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from goldilocks.core import files

Spec = dict[str, Any]
Columns = Mapping[str, Any]

INK = "currentColor"  # the page's text colour, for what is black in the figures
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
        name: its name in `explore.js`.
        label: its label in the page.
        values: the choices, as the reader sees them.
        start: the position of the first choice.
        slider: whether it is a slider; else a list.
        sets: for each choice, the value with which `explore.js` computes the rows; None: the control chooses the frame.
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
        name: its name in the page, and that of the figure shown without JavaScript.
        title: what the reader can do with it.
        controls: the controls; those that choose the frame come first.
        frame: returns the columns of a frame, given the positions of the controls that choose it. Columns have one
            length; a single value is repeated in every row.
        charts: Vega-Lite specifications over the data `frame`.
        about: what each chart shows, for screen readers.
        shared: columns that are the same in every frame.
        note: how to read the charts; `about`, if empty.
        reference: positions of controls that choose a frame to compare with; the charts have it as `reference`.
    """

    name: str
    title: str
    controls: tuple[Control, ...]
    frame: Callable[..., Columns]
    charts: tuple[Spec, ...]
    about: tuple[str, ...]
    shared: Mapping[str, Any] = {}
    note: str = ""
    reference: Mapping[str, int] = {}


def chart(height: int, *layers: Spec, **more: Any) -> Spec:
    """A Vega-Lite specification of layers over the frame, as wide as its container."""
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
    """An encoding by a column; without an axis title if `title` is None."""
    return {"field": name, "title": title, "type": kind} | more


def tooltip(**columns: str) -> list[Spec]:
    """The tooltip of a mark: columns by their titles, numbers (titles that end with #) to four digits."""
    return [
        {"field": name, "title": title.strip("#"), **({"format": ".4~g"} if title.endswith("#") else {})}
        for name, title in columns.items()
    ]


def eight_bits(values: np.ndarray) -> Columns:
    """Non-negative numbers as a column of bytes, each to within 1/510 of the largest number.

    Args:
        values: (n,).
    """
    largest = float(values.max(initial=0.0)) or 1.0
    codes = np.rint(values / largest * 255).astype(np.uint8)
    return {"bytes": base64.b64encode(codes.tobytes()).decode(), "unit": files.significant(largest / 255)}


def words(values: Sequence[str]) -> Columns | Sequence[str]:
    """A column of words; if at most ten differ, as the list of these and a digit for each row."""
    known = sorted(set(values))
    if len(known) > 10:
        return values
    return {"digits": "".join(str(known.index(value)) for value in values), "words": known}


def packed(explorer: Explorer) -> str:
    """An explorer as JSON for `explore.js`, safe inside a <script>; frames are in the order of the controls."""
    positions = [range(len(control.values)) for control in explorer.controls if control.sets is None]
    frames = [_plain(explorer.frame(*position)) for position in itertools.product(*positions)]
    contents = {
        "charts": explorer.charts,
        "controls": [
            {"name": control.name, "sets": control.sets, "values": list(control.values)}
            for control in explorer.controls
        ],
        "frames": {name: [frame[name] for frame in frames] for name in frames[0]},
        "name": explorer.name,
        "reference": dict(explorer.reference) or None,
        "shared": _plain(explorer.shared),
    }
    text = json.dumps(contents, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("<", "\\u003c")


def _plain(columns: Columns) -> dict[str, Any]:
    """Columns as plain values: numbers to six digits, null for those that are not finite."""
    return {name: files.rounded(_listed(column)) for name, column in columns.items()}


def _listed(column: Any) -> Any:
    if isinstance(column, np.ndarray | np.generic):
        column = column.tolist()
    if isinstance(column, list):
        return [_listed(value) for value in column]
    return None if isinstance(column, float) and not np.isfinite(column) else column
