"""Make Matplotlib's SVGs smaller without changing how they look.

Of a figure of 80 KB some 15 are outlines of letters, 15 say which letter stands where, and most of the rest is digits
that no eye can see, names nothing refers to, and styles that a hundred neighbours share. The result is plain SVG.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree as Tree

import numpy as np
from PIL import Image

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HREF = f"{{{XLINK}}}href"
UNITS = 100  # to a point, of paths: two decimals
NEAR = 0.05  # points that a line may pass beside what it stands for, a twentieth of its width
GLYPH = "scale(0.125)"  # instead of 1/64, so that outlines of letters are whole numbers of up to three digits
COLOURS = 64  # of a picture
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
SEGMENT = re.compile(r"([MLQCz])([^MLQCz]*)")
PICTURE = "data:image/png;base64,"
Node = Tree.Element


def compact(svg: str, title: str, description: str) -> str:
    """The same picture, with a title and a description for who can not see it."""
    root = Tree.fromstring(svg, Tree.XMLParser(target=Tree.TreeBuilder(insert_comments=True)))  # noqa: S314  ours
    shared = Tree.Element(f"{{{SVG}}}defs")
    _simplify(root, shared, set())
    about = [Tree.Element(f"{{{SVG}}}{name}") for name in ("title", "desc")]
    about[0].text, about[1].text = title, description
    root[:] = [*about, shared, *root]
    root.attrib |= {"role": "img", "stroke-linejoin": "round"}
    _break_lines(root)
    Tree.register_namespace("", SVG)
    Tree.register_namespace("xlink", XLINK)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Tree.tostring(root, encoding="unicode").replace('" />', '"/>')


def _name(node: Node) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""  # a comment's tag is a function


def _simplify(node: Node, shared: Node, empty: set[str]) -> None:
    """Shorten all that a node contains, and leave out what draws nothing.

    Args:
        shared: gets what is defined below the node, but no styles, which a page would take over.
        empty: gets the references to outlines of spaces, which are defined before they are used.
    """
    for child in list(node):
        if _name(child) in ("defs", "metadata"):
            node.remove(child)
            for one in child:
                if _name(one) == "path" and not one.get("d"):
                    empty.add(f"#{one.get('id')}")
                elif _name(one) in ("path", "clipPath"):
                    shared.append(one)
                    _simplify(one, shared, empty)
    kept: list[Node] = []
    for child in node:
        if child.get(HREF) not in empty:
            _simplify(child, shared, empty)
            group = _name(child) == "g"
            kept += [child] if not group or child.attrib else child
            if group and child.attrib:
                _share_style(child)
    node[:] = kept
    _shorten(node)


def _shorten(node: Node) -> None:
    """Fewer digits in a node's attributes, shorter names of letters, and no name that nothing refers to."""
    name, found = _name(node), node.attrib
    if name == "g":
        found.pop("id", None)
    for key in ("id", HREF):
        if key in found:
            found[key] = re.sub(r"^(#?)DejaVuSans-(?=[0-9a-f])", r"\1g", found[key])
    if name == "path":
        if found.get("transform") == "scale(0.015625)":  # a letter
            found["transform"] = GLYPH
            found["d"] = path(found["d"], 1 / 8, 1)
        elif "d" in found:  # without points there is no path
            found["d"] = path(found["d"], UNITS, UNITS)
    elif name == "image":
        found[HREF] = picture(found[HREF])
    elif name == "use" and (moved := re.fullmatch(r"translate\((\S+) 0\)", found.get("transform", ""))):
        del found["transform"]
        found["x"] = number(float(moved[1]), 1)
    for key in ("x", "y", "width", "height", "transform"):
        if key in found:
            found[key] = NUMBER.sub(lambda value: number(float(value[0]), 3), found[key])
    if "style" in found:
        found["style"] = found["style"].replace(": ", ":").replace("; ", ";")


def _share_style(group: Node) -> None:
    """Move a style that all members share to the group; opacity stays, since a group's differs from its members'."""
    members = [child for child in group if _name(child)]
    style, *others = {child.get("style", "") for child in members} or {""}
    if style and not (others or "style" in group.attrib or len(members) == 1 or re.search(r"(^|;)opacity", style)):
        group.set("style", style)
        for child in members:
            del child.attrib["style"]


def number(value: float, digits: int) -> str:
    """A number with at most so many decimals, and without those that are zero."""
    text = f"{value:z.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def straightened(points: np.ndarray, near: float = NEAR) -> np.ndarray:
    """A line through fewer of its points, from the first to the last, that passes all of them at most so far away.

    Args:
        points: (n,) complex.
    """
    kept, open_ends = {0, len(points) - 1}, [(0, len(points) - 1)]
    while open_ends:
        first, last = open_ends.pop()
        between, way = points[first + 1 : last] - points[first], points[last] - points[first]
        along = np.clip((between / way).real, 0, 1) if way else 0.0
        distance = np.abs(between - along * way)
        if distance.max(initial=0.0) > near:
            farthest = first + 1 + int(distance.argmax())
            kept.add(farthest)
            open_ends += [(first, farthest), (farthest, last)]
    return points[sorted(kept)]


def _segments(d: str, straighten: bool) -> Iterator[tuple[str, list[complex]]]:
    """Each segment of a path, its letter and points, x + iy; if `straighten`, lines in a row are one, of fewer points.

    Raises:
        ValueError: if there are other letters than Matplotlib's.
    """
    found = [(letter, [float(one) for one in numbers.split()]) for letter, numbers in SEGMENT.findall(d)]
    segments = [(letter, list(map(complex, of[::2], of[1::2]))) for letter, of in found]
    at = start = 0j
    for lines, run in itertools.groupby(segments, lambda segment: straighten and segment[0] == "L"):
        listed = list(run)
        if lines:
            listed = [("L", straightened(np.array([at, *(points[0] for _, points in listed)]))[1:].tolist())]
        for letter, points in listed:
            start = points[0] if letter == "M" else start
            at = points[-1] if points else start
            yield letter, points


@functools.cache  # figures share most letters
def path(d: str, scale: float, units: int) -> str:
    """Path data in steps from point to point, of `units` to a unit of the picture.

    Each point is rounded before the steps between them are taken, so that rounding does not add up.

    Args:
        scale: what coordinates are multiplied with before they are rounded to whole numbers.
    """
    digits = len(str(units)) - 1
    written: list[str] = []
    at = start = 0j
    last = ""
    for letter, points in _segments(d, straighten=digits > 0):
        whole = [complex(round(scale * point.real), round(scale * point.imag)) for point in points]
        start, at = (whole[0], 0j) if letter == "M" else (start, at)
        for here in [[one] for one in whole] if letter == "L" else [whole]:
            step, numbers = _step(letter, at, here)
            if any(numbers) or len(whole) < 2:
                written += [step] * (step != last or step in "Mz") + [number(c / units, digits) for c in numbers]
                at, last = here[-1] if here else start, step
    return " ".join(written)


def _step(letter: str, at: complex, points: list[complex]) -> tuple[str, list[float]]:
    """A segment relative to where the last one ended, but for a move."""
    moves = [point - at for point in points]
    if letter == "L" and not moves[0].imag:
        return "h", [moves[0].real]
    if letter == "L" and not moves[0].real:
        return "v", [moves[0].imag]
    return letter if letter == "M" else letter.lower(), [c for move in moves for c in (move.real, move.imag)]


def picture(href: str) -> str:
    """A picture in few colours, each with its own opacity."""
    with Image.open(io.BytesIO(base64.b64decode(href.removeprefix(PICTURE)))) as image:
        few = image.convert("RGBA").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    written = io.BytesIO()
    few.save(written, "png", optimize=True)
    return PICTURE + base64.b64encode(written.getvalue()).decode()


def _break_lines(root: Node) -> None:
    """An element a line, but for the letters of a text."""
    for node in root.iter():
        node.tail = "" if node.get(HREF, "").startswith("#g") else "\n"
        if not (node.text or "").strip():
            node.text = "\n" if len(node) and node[0].tail != "" and _name(node[0]) != "use" else ""
