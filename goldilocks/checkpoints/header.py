"""Parse the header of a safetensors file, which may be damaged or hostile.

Format: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header (unsigned, little-endian),
then comes the header, a JSON object that names each tensor's type, shape and place, then the tensors without a gap.

The reference library parses it, in a file with this header and a hole in place of the tensors.
"""

from __future__ import annotations

import tempfile
from math import prod
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

PREFIX = 8
LARGEST = 100_000_000  # bytes, the format's own limit
# Bits of one value, for every type the format knows.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
    "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


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


def parse(text: bytes, file_size: int) -> dict[str, Place]:
    """Every tensor's place, in their order, from the bytes of the header and the size of the file.

    Raises:
        HeaderError: if the reference library refuses it, or the tensors do not fill the file exactly.
    """
    places, end = {}, PREFIX + len(text)
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(len(text).to_bytes(PREFIX, "little") + text)
            file.truncate(file_size)
            with safe_open(file.name, "numpy") as opened:
                for name in opened.offset_keys():
                    tensor = opened.get_slice(name)
                    dtype, shape, start = tensor.get_dtype(), tuple(tensor.get_shape()), end
                    end += prod(shape) * BITS[dtype] // 8
                    places[name] = Place(dtype, shape, start, end)
    except (SafetensorError, OSError, OverflowError) as error:
        raise HeaderError(f"{error!s:.200}") from None
    return places
