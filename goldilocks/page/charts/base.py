"""Interactive charts: what they show for every position of their controls, as JSON in the page.

A chart shows the rows of one *frame*. The reader chooses the frame with sliders and lists, and `explore.js` draws it as
SVG in the page's own colours. A chart says what is drawn: its `kind`, one of the functions `draw` there, the columns it
reads, and its axes.

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
from goldilocks.plotting import palette

Chart = dict[str, Any]
Columns = Mapping[str, Any]

COLOURS = {
    palette.BLUE: "blue", palette.ORANGE: "orange", palette.GREEN: "green", palette.RED: "red", palette.SKY: "sky",
    palette.WINE: "wine", palette.BROWN: "brown", palette.BLACK: "ink", palette.GREY: "grey",
    palette.INDIGO: "indigo",
}  # fmt: skip
"""The colours that charts of the page may have, by their names in its style."""


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
        charts: what is drawn of the frame.
        about: what each chart shows, for screen readers.
        shared: columns that are the same in every frame.
        note: how to read the charts; `about`, if empty.
        reference: positions of controls that choose a frame to compare with.
    """

    name: str
    title: str
    controls: tuple[Control, ...]
    frame: Callable[..., Columns]
    charts: tuple[Chart, ...]
    about: tuple[str, ...]
    shared: Mapping[str, Any] = {}
    note: str = ""
    reference: Mapping[str, int] = {}


def css_colours(dark: bool) -> str:
    """The colours of charts as declarations of CSS variables."""
    return " ".join(f"--{name}: {palette.DARK[of] if dark else of.lower()};" for of, name in COLOURS.items())


def eight_bits(values: np.ndarray) -> Columns:
    """Non-negative numbers as a column of bytes, each to within 1/510 of the largest number.

    Args:
        values: (n,).
    """
    largest = float(values.max(initial=0.0)) or 1.0
    codes = np.rint(values / largest * 255).astype(np.uint8)
    return {"bytes": base64.b64encode(codes.tobytes()).decode(), "unit": files.significant(largest / 255, 4)}


def words(values: Sequence[str]) -> Columns | Sequence[str]:
    """A column of words; if at most ten differ, as the list of these and a digit for each row."""
    if len(known := sorted(set(values))) > 10:
        return values
    return {"digits": "".join(str(known.index(value)) for value in values), "words": known}


def packed(explorer: Explorer) -> str:
    """An explorer as JSON for `explore.js`, safe inside a <script>; frames are in the order of the controls."""
    positions = [range(len(control.values)) for control in explorer.controls if control.sets is None]
    frames = [_plain(explorer.frame(*position)) for position in itertools.product(*positions)]
    contents = {
        "charts": explorer.charts,
        "controls": [{"name": each.name, "sets": each.sets, "values": list(each.values)} for each in explorer.controls],
        "frames": {name: [frame[name] for frame in frames] for name in frames[0]},
        "name": explorer.name,
        "reference": dict(explorer.reference) or None,
        "shared": _plain(explorer.shared),
    }
    text = json.dumps(contents, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    """Columns as plain values: numbers to four digits, null for those that are not finite."""
    if isinstance(value, Mapping):
        return {name: _plain(column) for name, column in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, float):
        return value
    return files.significant(value, 4) if np.isfinite(value) else None
