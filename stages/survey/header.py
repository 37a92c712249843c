"""The header of a safetensors file, read with suspicion: it may come from anywhere.

Format: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header (unsigned, little-endian),
then comes the header, a JSON object that names each tensor's type, shape and place, then the tensors without a gap.

The object is read member by member, so that a hundred megabytes of something else take no more memory than they have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

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
SPACE = re.compile(r"[ \t\n\r]*")
ENTRY = re.compile(r"\{[^{}]{0,4096}\}")  # of a tensor: it holds no other object, and no tensor has a thousand axes


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
    names = [name for name, _ in pairs]
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise HeaderError(f"its header names {twice!r:.60} twice")
    return dict(pairs)


def _natural(digits: str) -> int:
    if digits.startswith("-") or len(digits) > len(str(LARGEST_SIZE)):
        raise HeaderError(f"its header holds the number {digits[:30]}, which no size can be")
    return int(digits)


def _no_number(text: str) -> NoReturn:
    raise HeaderError(f"its header holds the number {text[:30]}, which no size can be")


def _size(value: Any, of: str) -> int:
    if type(value) is not int or value > LARGEST_SIZE:
        raise HeaderError(f"{of} is {value!r:.40}, which no size can be")
    return value


DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_natural, parse_float=_no_number, parse_constant=_no_number
)


def _place(name: str, text: str, base: int) -> Place:
    """A tensor's place from its entry; offsets count from the header's end, at byte `base` of the file."""
    entry = DECODER.decode(text)
    if set(entry) != {"dtype", "shape", "data_offsets"}:
        raise HeaderError(f"the entry of {name!r:.60} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise HeaderError(f"{name!r:.60} is of the unknown type {dtype!r:.40}")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise HeaderError(f"the shape or the offsets of {name!r:.60} are not lists of numbers")
    values = 1
    for n in shape:
        values *= _size(n, f"an axis of {name!r:.60}")
        if values > LARGEST_SIZE:
            raise HeaderError(f"the shape of {name!r:.60} multiplies to more than 64 bits can count")
    start, stop = (_size(offset, f"an offset of {name!r:.60}") for offset in offsets)
    if start > stop:
        raise HeaderError(f"{name!r:.60} runs backwards, from byte {start} to byte {stop}")
    if values * BITS[dtype] != 8 * (stop - start):
        takes = f"shape {shape!s:.60} of type {dtype} takes others"
        raise HeaderError(f"{name!r:.60} has {stop - start} bytes, and {takes}")
    return Place(dtype, tuple(shape), base + start, base + stop)


def _space(text: str, at: int) -> int:
    """Where the white space at `at` ends."""
    match = SPACE.match(text, at)
    return match.end() if match else at


def _after(text: str, at: int, wanted: str) -> int:
    """Where it goes on after the character `wanted` and white space around it."""
    at = _space(text, at)
    if text[at : at + 1] != wanted:
        raise json.JSONDecodeError(f"Expecting {wanted}", text, at)
    return _space(text, at + 1)


def _string(text: str, at: int) -> tuple[str, int]:
    """The string that begins at `at`, and where it ends."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting a string", text, at)
    found, end = DECODER.raw_decode(text, at)
    found.encode()  # half a surrogate pair can't be
    return found, end


def _members(text: str, at: int, member: Callable[[str, int], int]) -> int:
    """Walk through the members of the JSON object that begins at `at`, and return where it ends.

    Args:
        member: takes a member's name and where its value begins, and returns where that ends.
    """
    at = _after(text, at, "{")
    seen = set[str]()
    while seen or text[at : at + 1] != "}":
        name, at = _string(text, at)
        if name in seen:
            raise HeaderError(f"its header names {name!r:.60} twice")
        seen.add(name)
        at = _space(text, member(name, _after(text, at, ":")))
        if text[at : at + 1] == "}":
            break
        at = _after(text, at, ",")
    return at + 1


def _places(text: str, base: int) -> dict[str, Place]:
    found = {}

    def note(name: str, at: int) -> int:
        if text[at : at + 1] != '"':
            raise HeaderError(f"its {METADATA} is not a mapping from names to texts (see {name!r:.60})")
        return _string(text, at)[1]

    def member(name: str, at: int) -> int:
        if name == METADATA:
            if text[at : at + 1] != "{":
                raise HeaderError(f"its {METADATA} is not a mapping from names to texts")
            return _members(text, at, note)
        entry = ENTRY.match(text, at)
        if not entry:
            raise HeaderError(f"the entry of {name!r:.60} is not dtype, shape and data_offsets")
        found[name] = _place(name, entry[0], base)
        return entry.end()

    end = _members(text, 0, member)
    if _space(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return found


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
        raise HeaderError(f"its header is not JSON ({error.msg}, character {error.pos})") from None
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
