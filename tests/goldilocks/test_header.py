"""Headers of safetensors files: read as the reference library reads them, or refused in one line."""

import json
import random
import struct
import sys
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from goldilocks.checkpoints import header

TOO_DEEP = "nested too deep" if sys.version_info < (3, 13) else "not JSON"  # what Python's own parser makes of it
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


def nested(depth):
    return [nested(depth - 1)] if depth else []


EMPTY = json.dumps(entry(shape=(0,), offsets=(0, 0))).encode()
REFUSED = {
    "no bytes": (b"", "it has 0 bytes"),
    "longer than the file": (struct.pack("<Q", 100) + b"{}", "a header of 100 bytes is announced in a file of 10"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not UTF-8 text (byte 2)"),
    "not JSON": (pack(b"{nope}"), "not JSON"),
    "no object": (pack(b"[1]"), "does not begin with {"),
    "space before": (pack(b" {}"), "does not begin with {"),
    "a list": (pack(b'{"a":' + b"[" * 100_000), "the entry of 'a' is not dtype, shape and data_offsets"),
    "nested": (pack(b'{"a":{"shape":' + b"[" * 4000 + b"}}"), TOO_DEEP),
    "an endless entry": (pack({"a": entry(shape=(1,) * 4000, offsets=(0, 4))}, bytes(4)), "the entry of 'a' is not"),
    "no comma": (pack(b'{"a":%s "b":1}' % EMPTY), "not JSON (Expecting ,"),
    "a comma too many": (pack(b'{"a":%s,}' % EMPTY), "not JSON (Expecting a string"),
    "no colon": (pack(b'{"a" 1}'), "not JSON (Expecting :"),
    "no end": (pack(b'{"a":%s' % EMPTY), "not JSON (Expecting ,"),
    "two objects": (pack(b"{}{}"), "not JSON (Extra data"),
    "twice": (pack(b'{"a": %s, "a": %s}' % (EMPTY, EMPTY)), "names 'a' twice"),
    "metadata twice": (pack(b'{"__metadata__": {}, "__metadata__": {}}'), "names '__metadata__' twice"),
    "a note twice": (pack(b'{"__metadata__": {"a": "1", "a": "2"}}'), "names 'a' twice"),
    "twice inside": (pack(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "names 'dtype' twice"),
    "half a note": (pack(b'{"__metadata__": {"a": "\\udc00"}}'), "half a character"),
    "half a character": (pack(b'{"\\ud800": {"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'), "half a character"),
    "no mapping": (pack({"a": [1]}), "the entry of 'a' is not dtype, shape and data_offsets"),
    "a key too few": (pack({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "the entry of 'a' is not"),
    "a further key nested too deep": (pack({"a": entry() | {"x": nested(120)}}, bytes(8)), "nested too deep"),
    "a further key out of range": (pack(b'{"a": {"x": 1e999}}'), "the number 1e999, which is out of range"),
    "half a character in a further key": (pack(b'{"a": %s}' % EMPTY.replace(b"}", b',"x": "\\udc00"}')), "half a char"),
    "metadata": (pack({"__metadata__": {"a": 1}}), "__metadata__ is not a mapping from names to texts (see 'a')"),
    "metadata that is a list": (pack({"__metadata__": []}), "__metadata__ is not a mapping"),
    "unknown type": (pack({"a": entry("F33")}, bytes(8)), "'a' is of the unknown type 'F33'"),
    "fraction": (pack(b'{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', bytes(8)), "an axis of 'a' is 2.0"),
    "negative": (pack({"a": entry(shape=(-2,))}, bytes(8)), "an axis of 'a' is -2"),
    "true": (pack({"a": entry(shape=(True, 2))}, bytes(8)), "an axis of 'a' is True"),
    "not a number": (pack(b'{"a": {"shape": [NaN]}}'), "the number NaN"),
    "a very long number": (pack(b'{"a": {"shape": [' + b"9" * 4000 + b"]}}"), "the number 999"),
    "overflow": (pack({"a": entry(shape=(2**62, 8), offsets=(0, 0))}), "more than 64 bits"),
    "overflow before a zero": (pack({"a": entry(shape=(2**62, 8, 0), offsets=(0, 0))}), "more than 64 bits"),
    "backwards": (pack({"a": entry(offsets=(8, 0))}, bytes(8)), "runs backwards"),
    "too few bytes": (pack({"a": entry(shape=(3,))}, bytes(8)), "takes others"),
    "three offsets": (pack({"a": entry(offsets=(0, 4, 8))}, bytes(8)), "are not lists of numbers"),
    "overlap": (pack({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), "'b' overlaps"),
    "gap": (pack({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), "leaves a gap"),
    "cut": (pack({"a": entry()}, bytes(7)), "it was cut or added to"),
    "added to": (pack({"a": entry()}, bytes(9)), "it was cut or added to"),
}


@pytest.mark.parametrize(("contents", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told(contents, said):
    with pytest.raises(header.HeaderError) as raised:
        read(contents)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


ACCEPTED = {
    "metadata that is null": {"__metadata__": None},
    "no metadata": {},
    "a further key": {"a": entry() | {"x": 1}},
    "further keys": {"a": entry() | {"x": [{"y": ["}", -1.5, None]}], "z": nested(50)}},
}


@pytest.mark.parametrize("entries", ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_reference_reader_accepts_is_accepted(entries):
    assert same_or_refused(pack({"a": entry()} | entries, bytes(8)))


def test_a_header_larger_than_the_format_allows_is_refused_unread():
    with pytest.raises(header.HeaderError, match="the format allows 100000000"):
        header.length(struct.pack("<Q", 100_000_001), 10**12)


def test_what_is_wrong_with_much_is_told_soon_and_briefly():
    many = b",".join(b'"%d":%s' % (n, EMPTY) for n in range(100_000))
    for text in (b'{%s,"99999":1}' % many, b'{"%s": 1}' % (b"x" * 10**6)):
        started = time.process_time()
        with pytest.raises(header.HeaderError) as raised:
            read(pack(text))
        assert len(str(raised.value)) < 200
        assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "junk", [b"[]," * 10**7, b'{"__metadata__":{"a":[' + b"[]," * 10**7, b'{"a":{"x":[' + b"[]," * 10**7]
)
def test_junk_takes_no_more_memory_than_it_has(junk):
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


def mutated(contents, choose):
    """A file with one thing changed: a bit, a byte, a piece cut out or doubled, two numbers of the header swapped."""
    data = bytearray(contents)
    length = struct.unpack("<Q", data[:8])[0]
    end = choose(8, 8 + length + 4)
    kind = choose(0, 5)
    if kind == 0:
        data[end % len(data)] ^= 1 << choose(0, 7)
    elif kind == 1:
        data[end % len(data)] = choose(0, 255)
    elif kind == 2:
        del data[end : end + choose(1, 6)]
    elif kind == 3:
        data[end:end] = data[end : end + choose(1, 6)]
    elif kind == 4:
        data = data[: choose(0, len(data))]
    else:
        text = bytes(data[8 : 8 + length])
        digits = [i for i, byte in enumerate(text) if chr(byte).isdigit()]
        data[8 + digits[choose(0, len(digits) - 1)]] = ord("0") + choose(0, 9)
    if choose(0, 1):  # half of them announce the length they have, so that more than the length is tried
        data[:8] = struct.pack("<Q", max(length + len(data) - len(contents), 0)) if kind in (2, 3) else data[:8]
    return bytes(data)


def test_two_thousand_mutants_are_read_as_the_library_reads_them_or_refused():
    contents, draw = save(TENSORS, {"format": "pt"}), random.Random(0)
    read_ones = sum(same_or_refused(mutated(contents, draw.randint)) for _ in range(2000))
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


def test_the_library_refuses_what_is_cut_too():
    contents = save(TENSORS)[:-1]
    with pytest.raises(SafetensorError):
        deserialize(contents)
    assert not same_or_refused(contents)
