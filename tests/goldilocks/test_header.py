"""Headers of safetensors files: read as the reference library reads them, or refused in one line."""

import json
import random
import struct

import numpy as np
import pytest
from safetensors import deserialize
from safetensors.numpy import save

from goldilocks.checkpoints import header
from goldilocks.core.cli import UserError

TENSORS = {
    "h.0.ln_1.weight": np.arange(4, dtype=np.float32),
    "h.0.ln_1.bias": np.arange(4, dtype=np.float16),
    "wte.weight": np.ones((3, 4), np.float64),
    "none": np.zeros((0, 3), np.int64),
    "one": np.array(7, np.int32),
}


def pack(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


class Memory:
    """A file of these bytes, and perhaps of more."""

    name = "it"

    def __init__(self, contents, size=0):
        self.contents, self.size = contents, size or len(contents)

    def head(self):
        return self.contents[:10]

    def read(self, spans):
        return [self.contents[span.start : span.stop] for span in spans]


def same_or_refused(contents):
    """Whether it was read; checks that then the reference library reads the same."""
    try:
        places = header.read(Memory(contents))
    except UserError as error:
        assert "\n" not in str(error)
        return False
    found = {name: (tuple(each["shape"]), each["dtype"], bytes(each["data"])) for name, each in deserialize(contents)}
    mine = {name: (place.shape, place.dtype, contents[place.start : place.stop]) for name, place in places.items()}
    assert mine == found
    return True


@pytest.mark.parametrize("stored", header.BITS)
def test_a_tensor_of_every_type_is_where_the_library_reads_it(stored):
    size = header.BITS[stored]
    entries = {name: {"dtype": stored, "shape": [8], "data_offsets": [i * size, (i + 1) * size]}
               for i, name in enumerate("ab")}  # fmt: skip
    assert same_or_refused(pack(entries, bytes(range(2 * size))))


TWO = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
REFUSED = {
    "no bytes": (b"", "a header of 0 bytes is announced in a file of 0"),
    "longer than the file": (struct.pack("<Q", 100) + b"{}", "a header of 100 bytes is announced in a file of 10"),
    "no object": (pack([1]), "invalid JSON in header"),
    "a long name": (pack({"x" * 10**6: 1}), "invalid JSON in header"),
    "a gap after a long name": (pack({"x" * 10**6: TWO | {"data_offsets": [8, 16]}}, bytes(16)), "invalid offset"),
    "cut": (pack({"a": TWO}, bytes(7)), "file not fully covered"),
}


@pytest.mark.parametrize(("contents", "said"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_header_is_refused_in_a_short_line(contents, said):
    with pytest.raises(UserError, match=f"it: not a sound safetensors file: .*{said}") as raised:
        header.read(Memory(contents))
    assert len(str(raised.value)) <= 300


def test_sizes_that_no_header_and_no_file_has_are_refused():
    with pytest.raises(UserError, match="the format allows 100000000"):
        header.read(Memory(struct.pack("<Q", 100_000_001), 10**12))
    for size in (10**18, 10**19):
        with pytest.raises(UserError, match="large"):
            header.read(Memory(pack({}), size))


def damaged(contents, draw):
    """A text with a byte changed, left out or doubled, a digit in its place, or its end cut off."""
    at = draw.randrange(len(contents))
    before, here, after = contents[:at], contents[at : at + 1], contents[at + 1 :]
    digits = [i for i in range(len(contents)) if contents[i : i + 1].isdigit()] or [0]
    digit = draw.choice(digits)
    return draw.choice([
        before + draw.randbytes(1) + after, before + after, before + here * 2 + after, before,
        contents[:digit] + str(draw.randrange(10)).encode() + contents[digit + 1 :],
    ])  # fmt: skip


def mutated(contents, draw):
    """A file whose header or data are damaged; half of them announce the length that the header has."""
    length = int.from_bytes(contents[:8], "little")
    text, data = contents[8 : 8 + length], contents[8 + length :]
    text, data = (damaged(text, draw), data) if draw.random() < 0.9 else (text, damaged(data, draw))
    return struct.pack("<Q", draw.choice([length, len(text)])) + text + data


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_and_its_mutants_are_read_as_the_library_reads_them_or_refused(metadata):
    contents, draw = save(TENSORS, metadata), random.Random(0)
    assert same_or_refused(contents)
    read_ones = sum(same_or_refused(mutated(contents, draw)) for _ in range(500))
    assert 5 < read_ones < 495, "both happen"
