"""Headers of safetensors files: read as the reference library reads them, or refused in one line."""

import json
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save

from goldilocks.checkpoints import header

TENSORS = {
    "h.0.ln_1.weight": np.arange(4, dtype=np.float32),
    "h.0.ln_1.bias": np.arange(4, dtype=np.float16),
    "wte.weight": np.ones((3, 4), np.float64),
    "none": np.zeros((0, 3), np.int64),
    "one": np.array(7, np.int32),
}


def pack(entries, data=b"", pad=0):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    text += b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def read(contents):
    length = header.length(contents[:8], len(contents))
    return header.parse(contents[8 : 8 + length], len(contents))


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_every_tensor_is_where_the_library_put_it(metadata):
    contents = save(TENSORS, metadata)
    places = read(contents)
    assert set(places) == set(TENSORS)
    for name, array in TENSORS.items():
        place = places[name]
        assert place.shape == array.shape
        assert contents[place.start : place.stop] == array.tobytes()


NONE = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
REFUSED = {
    "no bytes": (b"", "it has 0 bytes"),
    "longer than the file": (struct.pack("<Q", 100) + b"{}", "a header of 100 bytes is announced in a file of 10"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not UTF-8 text (byte 2)"),
    "no object": (pack(b"[1]"), "does not begin with {"),
    "a list": (pack(b'{"a":' + b"[" * 100_000), "not a JSON object of objects (from character 1)"),
    "an endless entry": (pack({"a": entry(shape=(1,) * 4000, offsets=(0, 4))}, bytes(4)), "more than 4096 characters"),
    "no comma": (pack(b'{"a":%s "b":1}' % NONE), "not a JSON object"),
    "a comma too many": (pack(b'{"a":%s,}' % NONE), "not a JSON object"),
    "no end": (pack(b'{"a":%s' % NONE), "not a JSON object"),
    "two objects": (pack(b"{}{}"), "not a JSON object"),
    "twice": (pack(b'{"a": %s, "a": %s}' % (NONE, NONE)), "names 'a' twice"),
    "metadata twice": (pack(b'{"__metadata__": {}, "__metadata__": {}}'), "names '__metadata__' twice"),
    "twice inside": (pack(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "something twice in the entry of a tensor"),
    "half a character": (pack(b'{"\\ud800": %s}' % NONE), "half a character"),
    "null": (pack({"a": None}), "the entry of 'a' is not dtype, shape and data_offsets"),
    "a key too few": (pack({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "the entry of 'a' is not"),
    "metadata": (pack({"__metadata__": {"a": 1}}), "__metadata__ is not a mapping from names to texts"),
    "unknown type": (pack({"a": entry("F33")}, bytes(8)), "'a' is of the unknown type 'F33'"),
    "fraction": (pack({"a": entry(shape=(2.0,))}, bytes(8)), "an axis or offset of 'a' is 2.0"),
    "true": (pack({"a": entry(shape=(True, 2))}, bytes(8)), "an axis or offset of 'a' is True"),
    "a very long number": (pack({"a": entry(shape=(10**3000,))}), "an axis or offset of 'a' is 1000"),
    "overflow before a zero": (pack({"a": entry(shape=(2**62, 8, 0), offsets=(0, 0))}), "more than 64 bits"),
    "backwards": (pack({"a": entry(offsets=(8, 0))}, bytes(8)), "has bytes 8 to 0"),
    "three offsets": (pack({"a": entry(offsets=(0, 4, 8))}, bytes(8)), "are not lists of numbers"),
    "overlap": (pack({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "'b' overlaps"),
    "gap": (pack({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "leaves a gap"),
    "cut": (pack({"a": entry()}, bytes(7)), "it was cut or added to"),
}


@pytest.mark.parametrize(("contents", "said"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_header_is_refused_in_a_short_line(contents, said):
    with pytest.raises(header.HeaderError) as raised:
        read(contents)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("entries", [{"__metadata__": None}, {}, {"a": entry() | {"x": [1, "}"]}}])
def test_metadata_may_be_null_or_missing_and_entries_may_have_further_keys(entries):
    assert same_or_refused(pack({"a": entry()} | entries, bytes(8)))


def test_a_header_larger_than_the_format_allows_is_refused_unread():
    with pytest.raises(header.HeaderError, match="the format allows 100000000"):
        header.length(struct.pack("<Q", 100_000_001), 10**12)


def test_a_long_name_and_a_fault_behind_many_tensors_are_refused_soon():
    many = b",".join(b'"%d":%s' % (n, NONE) for n in range(20_000))
    for text in (b'{%s,"19999":1}' % many, b'{%s,"19999":%s}' % (many, NONE), b'{"%s": 1}' % (b"x" * 10**6)):
        started = time.process_time()
        with pytest.raises(header.HeaderError) as raised:
            read(pack(text))
        assert len(str(raised.value)) < 200
        assert time.process_time() - started < 1


@pytest.mark.parametrize("before", [b"", b'{"__metadata__":{"a":[', b'{"a":{"x":['])
@pytest.mark.parametrize("after", [b"", b"]}}"])
def test_junk_takes_no_more_memory_than_it_has(before, after):
    junk = before + b"[]," * 10**6 + after
    tracemalloc.start()
    try:
        with pytest.raises(header.HeaderError):
            header.parse(junk, 10**9)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(junk)
    finally:
        tracemalloc.stop()


def same_or_refused(contents):
    """Whether it was read; checks that then the reference library reads the same."""
    try:
        places = read(contents)
    except header.HeaderError as error:
        assert "\n" not in str(error)
        return False
    found = {name: (tuple(each["shape"]), each["dtype"], bytes(each["data"])) for name, each in deserialize(contents)}
    mine = {name: (place.shape, place.dtype, contents[place.start : place.stop]) for name, place in places.items()}
    assert mine == found
    return True


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


def test_two_thousand_mutants_are_read_as_the_library_reads_them_or_refused():
    contents, draw = save(TENSORS, {"format": "pt"}), random.Random(0)
    read_ones = sum(same_or_refused(mutated(contents, draw)) for _ in range(2000))
    assert 20 < read_ones < 1980, "both happen"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(text):
    same_or_refused(pack(text))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**65) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F4", "BOOL", "X"]) | json_like,
        "shape": st.lists(st.integers(0, 4), max_size=3) | json_like,
        "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2) | json_like,
    }
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), entries | json_like, max_size=3), st.integers(0, 64)
)
def test_any_json_is_refused_or_read(found, size):
    same_or_refused(pack(found, bytes(size)))
