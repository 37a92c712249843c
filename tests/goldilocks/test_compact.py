import base64
import io
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve
from PIL import Image

from goldilocks.plotting import compact, style

COMMAND = re.compile(r"([MLHVQCmlhvqcz])([^MLHVQCmlhvqcz]*)")
CODES = {"m": Curve.MOVETO, "l": Curve.LINETO, "q": Curve.CURVE3, "c": Curve.CURVE4}


def points(d):
    """Where path data lead, by the rules of SVG: every point in order, with what leads there."""
    found, at, start = [], np.zeros(2), np.zeros(2)
    for letter, text in COMMAND.findall(d):
        kind, relative = letter.lower(), letter.islower()
        numbers = [float(number) for number in text.split()]
        if kind == "z":
            at = start
            continue
        if kind in "hv":
            pad = [
                [number, 0 if relative else at[1]] if kind == "h" else [0 if relative else at[0], number]
                for number in numbers
            ]
            numbers, kind = [number for pair in pad for number in pair], "l"
        size = {"m": 1, "l": 1, "q": 2, "c": 3}[kind]
        pairs = np.array(numbers).reshape(-1, size, 2)
        for group in pairs:
            group = group + at if relative else group
            found += [(kind, *point) for point in group]
            at = group[-1]
        if kind == "m":
            start = at
    return found


def test_paths_lead_where_they_led_and_rounding_does_not_add_up():
    d = "M 10.123456 20.5 \nL 30.987 20.5 \nL 30.987 5.25 \nQ 1 2 3.333333 4 \nC 0.5 0.25 7 8 -9.125 1e-05 \n"
    d += "z\nL 7.5 7 \nM 1 1 \nL 2 3 \n"
    d += " ".join(f"L {0.123456 * i} {5.0 * (i % 2)}" for i in range(1000))
    short = compact.path(d, compact.UNITS, compact.UNITS)
    assert len(short) < len(d)
    before, after = points(d), points(short)
    assert [kind for kind, *_ in before] == [kind for kind, *_ in after]
    np.testing.assert_allclose([at for _, *at in after], [at for _, *at in before], atol=0.00501)
    for foreign in ("M 1 2 A 3 4 0 0 1 5 6", "M 1 2 l 3 4", "M nan 1"):
        with pytest.raises(ValueError, match="path data that is not Matplotlib's"):
            compact.path(foreign, compact.UNITS, compact.UNITS)


def test_a_line_keeps_its_ends_and_corners_and_passes_near_all_else():
    rng = np.random.default_rng(0)
    line = [(x, y) for x, y in zip(np.linspace(0, 50, 400), np.cumsum(rng.normal(size=400)) * 0.1, strict=True)]
    short = compact.straightened(line)
    assert (short[0], short[-1]) == (line[0], line[-1])
    assert len(short) < 300
    for point in line:
        nearest = min(compact._distance(point, a, b) for a, b in pairwise(short))
        assert nearest <= 0.0501
    corners = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (0.0, 0.0)]
    assert compact.straightened(corners) == corners
    assert compact.straightened([(0.0, 0.0), (5.0, 0.01), (10.0, 0.0)]) == [(0.0, 0.0), (10.0, 0.0)]


@pytest.fixture(scope="module")
def written():
    """A figure's SVG as Matplotlib writes it, and in fewer bytes."""
    figure, whole = Figure(figsize=(4, 3)), io.StringIO()
    axes = figure.subplots()
    x = np.linspace(0, 7, 200)
    axes.plot(x, np.sin(x), "o-", ms=3, label="sin(x) - wave")
    axes.fill_between(x, np.cos(x), 2, alpha=0.3)
    axes.set_title("Curves of −1 to 1 -- both")
    axes.legend()
    with style.applied():
        figure.savefig(whole, format="svg", dpi=100, metadata={"Date": None, "Creator": None})
    return whole.getvalue(), compact.compact(whole.getvalue(), "A title", "What <is> drawn & how")


def test_texts_and_notes_stay_as_they_are_and_nothing_refers_to_nothing(written):
    whole, short = written
    assert len(short) < 0.6 * len(whole)
    notes = [re.findall(r"<!-- (.*?) -->", text) for text in written]
    assert notes[0] == notes[1]
    assert "Curves of −1 to 1 - - both" in notes[1]
    root = ElementTree.fromstring(short)
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', short))
    assert referred == set(ids)
    assert [one.text for one in root[:2]] == ["A title", "What <is> drawn & how"]
    assert "<style" not in short, "it would hold for the whole page that the figure is put in"


def test_a_letter_keeps_its_shape(written):
    letter = r'<path id="{}13" d="([^"]*)"[^>]* transform="scale\(([0-9.]+)\)"'
    names = ("DejaVuSans-", "g")
    found = [re.search(letter.format(name), text) for name, text in zip(names, written, strict=True)]
    before, after = ([(kind, *(float(one[2]) * c for c in at)) for kind, *at in points(one[1])] for one in found)
    assert [kind for kind, *_ in before] == [kind for kind, *_ in after]
    np.testing.assert_allclose([at for _, *at in after], [at for _, *at in before], atol=0.0626)  # of 100, its size


@pytest.mark.parametrize(
    ("styles", "written", "times"),
    [
        (("fill: #ff0000", "fill: #ff0000"), "#ff0000", 1),
        (("fill: #ff0000", "fill: #00ff00"), '<rect style="fill:#', 2),
        (("opacity: 0.5", "opacity: 0.5"), '<rect style="opacity:0.5"', 2),
    ],
)
def test_a_shared_style_is_said_once_but_for_opacity(styles, written, times):
    shapes = "".join(f'<rect style="{style}"/>' for style in styles)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><g id="a" clip-path="url(#b)">{shapes}</g></svg>'
    assert compact.compact(svg, "", "").count(written) == times


def test_a_picture_looks_the_same_in_few_colours():
    rng = np.random.default_rng(0)
    pixels = np.zeros((60, 80, 4), np.uint8)
    pixels[rng.random((60, 80)) < 0.2] = (0, 114, 178, 128)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "png")
    href = compact.PICTURE + base64.b64encode(written.getvalue()).decode()
    short = compact.picture(href)
    assert len(short) < len(href)
    with Image.open(io.BytesIO(base64.b64decode(short.removeprefix(compact.PICTURE)))) as image:
        found = np.asarray(image.convert("RGBA")).astype(int)
    assert np.abs(found - pixels).max() <= 8
