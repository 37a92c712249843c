"""Parse the header of a safetensors file, which may be damaged or hostile.

Format: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header (unsigned, little-endian),
then comes the header, a JSON object that names each tensor's type, shape and place, then the tensors without a gap.

The object is read member by member, so that a hundred megabytes of junk take no more memory than the junk itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple

PREFIX = 8
LARGEST = 100_000_000  # bytes, the format's own limit
LARGEST_SIZE = 2**64 - 1  # the format's sizes are unsigned 64-bit numbers
# Bits of one value, for every type the format knows.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
    "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
METADATA = "__metadata__"
LONGEST_ENTRY = 4096  # characters of a tensor's entry; no tensor has a thousand axes

SPACE = r"[ \t\n\r]*+"
CHARACTERS = r'[^"\\\x00-\x1f]*+'
STRING = rf'"{CHARACTERS}(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{{4}}){CHARACTERS})*+"'
NOTE = rf'{STRING}{SPACE}:{SPACE}{STRING}{SPACE}(?:,{SPACE}(?=")|(?=\}}))'
NOTES = re.compile(rf"\{{{SPACE}(?:{NOTE})*+\}}|null")
MEMBER = re.compile(rf'{SPACE}({STRING}){SPACE}:{SPACE}(\{{(?:[^{{}}"]++|{STRING})*+\}}|null){SPACE}(,|\}}{SPACE}\Z)')
EMPTY = re.compile(rf"\{{{SPACE}\}}{SPACE}")


class HeaderError(ValueError):
    """What is wrong with a header, in words that follow "not a sound safetensors file:"."""


class Place(NamedTuple):
    """Where a tensor is: its type's name, its shape, and its bytes start … stop - 1 of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def length(first: bytes, file_size: int) -> int:
    """The header's length in bytes, from the first eight of a file of `file_size` bytes.

    Raises:
        HeaderError: if the file or the format can't hold a header of that length.
    """
    if len(first) < PREFIX:
        raise HeaderError(f"it has {file_size} bytes, and the length of the header alone takes {PREFIX}")
    found = int.from_bytes(first[:PREFIX], "little")
    if found > file_size - PREFIX:
        raise HeaderError(f"a header of {found} bytes is announced in a file of {file_size}")
    if found > LARGEST:
        raise HeaderError(f"a header of {found} bytes is announced, and the format allows {LARGEST}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise HeaderError("its header names something twice in the entry of a tensor")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """The name of each member of the header's object, and where its value, an object or null, starts and stops."""
    at, after = 1, "}" if EMPTY.fullmatch(text) else ","
    while after == ",":
        member = MEMBER.match(text, at)
        if member is None:
            raise HeaderError(f"its header is not a JSON object of objects (from character {at})")
        name = DECODER.decode(member[1])
        name.encode()  # fails on half a surrogate pair
        yield name, *member.span(2)
        at, after = member.end(), member[3]


def _place(name: str, text: str, base: int) -> Place:
    """A tensor's place from its entry; offsets count from the header's end, at byte `base` of the file."""
    entry = DECODER.decode(text)
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise HeaderError(f"the entry of {name!r:.60} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise HeaderError(f"{name!r:.60} is of the unknown type {dtype!r:.40}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise HeaderError(f"the shape or the offsets of {name!r:.60} are not lists of numbers")
    for value in (*shape, *offsets):
        if type(value) is not int or not 0 <= value <= LARGEST_SIZE:
            raise HeaderError(f"an axis or offset of {name!r:.60} is {value!r:.40}, which no size can be")
    products = list(accumulate(shape, mul, initial=1))
    if max(products) > LARGEST_SIZE:
        raise HeaderError(f"the shape of {name!r:.60} multiplies to more than 64 bits can count")
    start, stop = offsets
    if products[-1] * BITS[dtype] != 8 * (stop - start):
        takes = f"shape {shape!s:.60} of type {dtype} takes others"
        raise HeaderError(f"{name!r:.60} has bytes {start} to {stop}, and {takes}")
    return Place(dtype, tuple(shape), base + start, base + stop)


def _places(text: str, base: int) -> dict[str, Place]:
    places: dict[str, Place] = {}
    noted = False
    for name, start, stop in _members(text):
        if name in places or (name == METADATA and noted):
            raise HeaderError(f"its header names {name!r:.60} twice")
        if name == METADATA:
            noted = True
            if not NOTES.fullmatch(text, start, stop):
                raise HeaderError(f"its {METADATA} is not a mapping from names to texts")
        elif stop - start > LONGEST_ENTRY:
            raise HeaderError(f"the entry of {name!r:.60} has more than {LONGEST_ENTRY} characters")
        else:
            places[name] = _place(name, text[start:stop], base)
    return places


def parse(text: bytes, file_size: int) -> dict[str, Place]:
    """Every tensor's place, from the bytes of the header and the size of the file.

    Raises:
        HeaderError: if it is not UTF-8, not JSON, names something twice, holds anything but tensors and metadata, or if
            the tensors overlap, leave gaps, or do not fill the file exactly.
    """
    base = end = PREFIX + len(text)
    try:
        if text[:1] != b"{":
            raise HeaderError("its header does not begin with {")
        places = _places(text.decode("utf-8"), base)
    except UnicodeDecodeError as error:
        raise HeaderError(f"its header is not UTF-8 text (byte {error.start})") from None
    except UnicodeEncodeError:
        raise HeaderError("its header holds half a character") from None
    except json.JSONDecodeError as error:
        raise HeaderError(f"its header is not JSON ({error.msg})") from None
    except RecursionError:
        raise HeaderError("its header is nested too deep") from None
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].stop)):
        if place.start != end:
            what = "overlaps with the tensor before it" if place.start < end else "leaves a gap before it"
            raise HeaderError(f"{name!r:.60} {what} (byte {place.start}, expected {end})")
        end = place.stop
    if end != file_size:
        raise HeaderError(f"its tensors end at byte {end}, and the file at byte {file_size}: it was cut or added to")
    return places
