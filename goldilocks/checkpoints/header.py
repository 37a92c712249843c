"""Read the header of a safetensors file, which may be damaged or hostile.

Format: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header (unsigned, little-endian),
then comes the header, a JSON object that names each tensor's type, shape and place, then the tensors without a gap.

The reference library parses it, in a file with this header and a hole in place of the tensors.
"""

from __future__ import annotations

import tempfile
from math import prod
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from goldilocks.checkpoints.ranges import Source, Span, refuse_lfs_pointer
from goldilocks.core.cli import UserError

PREFIX = 8
LARGEST = 100_000_000  # bytes, the format's own limit
# Bits of one value, for every type the format knows.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
    "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip


class Place(NamedTuple):
    """Where a tensor is: its type's name, its shape, and its bytes start … stop - 1 of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read(source: Source) -> dict[str, Place]:
    """Every tensor's place, in their order; in one request if the header is not too long.

    Raises:
        UserError: if the reference library refuses it, or the tensors do not fill the file exactly.
    """
    first = source.head()
    refuse_lfs_pointer(first, source.name)
    length = int.from_bytes(first[:PREFIX], "little")
    if source.size < PREFIX + length:
        raise _unsound(source, f"a header of {length} bytes is announced in a file of {source.size}")
    if length > LARGEST:
        raise _unsound(source, f"a header of {length} bytes is announced, and the format allows {LARGEST}")
    end = PREFIX + length
    rest = source.read([Span(len(first), end)])[0] if end > len(first) else b""
    return _parsed((first + rest)[:end], source)


def _parsed(head: bytes, source: Source) -> dict[str, Place]:
    places, end = {}, len(head)
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(head)
            file.truncate(source.size)
            with safe_open(file.name, "numpy") as opened:
                for name in opened.offset_keys():
                    tensor = opened.get_slice(name)
                    dtype, shape, start = tensor.get_dtype(), tuple(tensor.get_shape()), end
                    end += prod(shape) * BITS[dtype] // 8
                    places[name] = Place(dtype, shape, start, end)
    except (SafetensorError, OSError, OverflowError) as error:
        raise _unsound(source, f"{error!s:.200}") from None
    return places


def _unsound(source: Source, problem: str) -> UserError:
    return UserError(f"{source.name}: not a sound safetensors file: {problem}")
