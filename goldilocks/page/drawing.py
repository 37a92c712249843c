"""Small drawings of the page's first screen, as SVG in the page's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from goldilocks.softmax.scalings import EXPONENTS, FACTORS

LEFT, RIGHT, TOP, BOTTOM = 22, 312, 8, 226  # of the map at a glance, 360 by 260
COLOURS = {"unscaled": "red", "scaled": "blue", "scaled_by_d": "green"}


def bell(sigma: float) -> Markup:
    """A normal distribution as wide as `sigma`, on an axis from -4 to 4."""
    x = np.linspace(-4, 4, 41)
    y = np.exp(-((x / sigma) ** 2) / 2) / sigma**0.5
    points = " ".join(f"{40 + 9.5 * a:.1f},{34 - 20 * b:.1f}" for a, b in zip(x, y, strict=True))
    return _icon(f'<polyline points="{points}"/>')


def bars(heights: Sequence[float]) -> Markup:
    """Bars side by side, of heights from 0 to 1."""
    wide = 60 / len(heights)
    places = [(11 + i * wide, 34 - 30 * height, 30 * height) for i, height in enumerate(heights)]
    bar = '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    return _icon("".join(bar.format(x, y, wide - 2, height) for x, y, height in places))


def _icon(inside: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 80 36" aria-hidden="true">{inside}</svg>')  # noqa: S704  of numbers


def glance(zone: pd.DataFrame) -> Markup:
    """The Goldilocks zone over dimension and logit scale, both logarithmic, with the scales 1, 1/√d and 1/d.

    Args:
        zone: rows of the table `goldilocks_zone` for one number of keys and one correlation.
    """
    d = zone["dimension"].to_numpy(float)
    some = zone[zone["lower"] <= zone["upper"]].astype({"dimension": float})
    back = some[::-1]

    def x(dimension: Any) -> Any:
        return LEFT + (RIGHT - LEFT) * np.log(dimension / d[0]) / np.log(d[-1] / d[0])

    def y(scale: Any) -> Any:
        return TOP + 14 + (BOTTOM - TOP - 14) * np.log(scale) / np.log(0.7 / d[-1])

    def points(dimensions: Any, scales: Any) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x(dimensions), y(scales), strict=True))

    slope = np.degrees(np.arctan2(y(d[-1] ** -0.5) - y(d[0] ** -0.5), RIGHT - LEFT))
    zone_points = f"{points(some['dimension'], some['lower'])} {points(back['dimension'], back['upper'])}"
    lines = "".join(
        f'<polyline class="line" style="stroke: var(--{COLOURS[name]})" points="{points(d, d**-exponent)}"/>'
        f'<text x="{RIGHT + 5}" y="{y(d[-1] ** -exponent) + 4:.0f}" style="fill: var(--{COLOURS[name]})">'
        f"{FACTORS[name]}</text>"
        for name, exponent in EXPONENTS.items()
    )
    ends = "".join(
        f'<text x="{x(at):.0f}" y="{BOTTOM + 18}" text-anchor="{anchor}">{at:,.0f}</text>'
        for at, anchor in ((d[0], "start"), (d[-1], "end"))
    )
    return Markup(  # noqa: S704  of numbers and the words above
        '<svg viewBox="0 0 360 260" role="img" aria-label="Logit scale over dimension: the zone between too large and '
        'too small logits, in which the scale 1/√d lies.">'
        f'<polygon class="zone" points="{zone_points}"/>{lines}'
        f'<text x="{RIGHT}" y="{TOP + 4}" text-anchor="end">too large: little gradient</text>'
        f'<text x="{LEFT + 4}" y="{BOTTOM - 8}">too small: all keys look alike</text>'
        f'<text class="name" transform="translate({RIGHT - 10} {y(d[-1] ** -0.5) - 10:.0f}) rotate({slope:.1f})" '
        'text-anchor="end">Goldilocks zone</text>'
        f'<text transform="translate(12 {(TOP + BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "factor on q·k (log)</text>"
        f'{ends}<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 18}" text-anchor="middle">dimension d (log)</text></svg>'
    )
