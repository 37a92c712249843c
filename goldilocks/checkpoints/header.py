"""Parse the header of a safetensors file, which may be damaged or hostile.

Format: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header (unsigned, little-endian),
then comes the header, a JSON object that names each tensor's type, shape and place, then the tensors without a gap.

The object is read member by member, so that a hundred megabytes of junk take no more memory than the junk itself.
"""

from __future__ import annotations

import json
import math
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
LONGEST_ENTRY = 4096  # characters of a tensor's entry; no tensor has a thousand axes
MAX_DIGITS = 308  # of a number; the reference reader refuses what no 64-bit float can be
MAX_DEPTH = 100  # of lists and objects in an entry; the reference reader's limit is 128


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


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        _no_number(digits)
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _no_number(digits)
    return value


def _no_number(text: str) -> NoReturn:
    raise HeaderError(f"its header holds the number {text[:30]}, which is out of range")


def _size(value: Any, of: str) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_SIZE:
        raise HeaderError(f"{of} is {value!r:.40}, which no size can be")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_no_number)


def _entry(name: str, text: str, at: int) -> tuple[dict[str, Any], int]:
    """The entry of a tensor that begins at `at`, and where it ends; it may hold further keys, with any values."""
    part = text[at : at + LONGEST_ENTRY]
    wrong = HeaderError(f"the entry of {name!r:.60} is not dtype, shape and data_offsets")
    if part[:1] != "{":
        raise wrong
    try:
        entry, length = DECODER.raw_decode(part)
    except json.JSONDecodeError as error:
        if len(part) == LONGEST_ENTRY:
            raise wrong from None
        raise json.JSONDecodeError(error.msg, text, at + error.pos) from None
    if not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise wrong
    if part.count("[", 0, length) + part.count("{", 0, length) > MAX_DEPTH:
        raise HeaderError("its header is nested too deep")
    if "\\u" in part[:length]:
        json.dumps(entry, ensure_ascii=False).encode()  # fails on half a surrogate pair
    return entry, at + length


def _place(name: str, entry: dict[str, Any], base: int) -> Place:
    """A tensor's place from its entry; offsets count from the header's end, at byte `base` of the file."""
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
    """The end of the white space at `at`."""
    match = SPACE.match(text, at)
    return match.end() if match else at


def _after(text: str, at: int, wanted: str) -> int:
    """The position after the character `wanted` and the white space around it."""
    at = _space(text, at)
    if text[at : at + 1] != wanted:
        raise json.JSONDecodeError(f"Expecting {wanted}", text, at)
    return _space(text, at + 1)


def _string(text: str, at: int) -> tuple[str, int]:
    """The string that begins at `at`, and where it ends."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting a string", text, at)
    found, end = DECODER.raw_decode(text, at)
    found.encode()  # fails on half a surrogate pair
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
            if text.startswith("null", at):
                return at + len("null")
            if text[at : at + 1] != "{":
                raise HeaderError(f"its {METADATA} is not a mapping from names to texts")
            return _members(text, at, note)
        entry, end = _entry(name, text, at)
        found[name] = _place(name, entry, base)
        return end

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
