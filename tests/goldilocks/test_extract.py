"""What is read of a checkpoint: the reference library's values, or, if it is damaged, a refusal in one line."""

import json
import random
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import TensorSpec, deserialize, serialize_file
from safetensors.numpy import save, save_file
from test_inputs import gpt2_tensors

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.resolve import resolve
from goldilocks.checkpoints.tensors import Tensors, read_header
from goldilocks.core.cli import UserError

INDEX = "model.safetensors.index.json"


def checkpoint():
    """The files of a sharded checkpoint, its second shard in half precision and with metadata and other types."""
    tensors = gpt2_tensors()
    first = {name: array for name, array in tensors.items() if name < "h.1"}
    second = {name: array.astype(np.float16) for name, array in tensors.items() if name not in first}
    second |= {"first": np.zeros((0, 3), np.float16), "z": np.zeros(0, np.float16), "one": np.array(7, np.int32)}
    weight_map = dict.fromkeys(first, "a.safetensors") | dict.fromkeys(second, "b.safetensors")
    return {
        "a.safetensors": save(first),
        "b.safetensors": save(second, {"format": "pt"}),
        INDEX: json.dumps({"metadata": {}, "weight_map": weight_map}).encode(),
        "config.json": json.dumps({"model_type": "gpt2"}).encode(),
    }


def written(folder, files):
    folder.mkdir(exist_ok=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    return folder


def same_or_refused(folder):
    """Whether it was read; checks that then every place and value is the one that the reference library reads."""
    try:
        found = read(folder)
        tensors = Tensors(resolve(str(folder), Client()))
        places = tensors.places(tensors.files)
    except UserError as error:
        assert all("\n" not in problem for problem in error.problems)
        return False
    library = {name: each for path in folder.glob("*.safetensors") for name, each in deserialize(path.read_bytes())}
    for name, (dtype, shape, span) in places.items():
        theirs = library[name]
        assert (dtype, list(shape)) == (theirs["dtype"], theirs["shape"])
        assert (folder / tensors.files[name]).read_bytes()[span.start : span.stop] == bytes(theirs["data"])
    assert found.tensors
    for tensor in found.tensors:
        data = bytes(library[tensor.name]["data"])
        assert (tensor.stored, tensor.raw.tobytes()) == (places[tensor.name].dtype, data)
        with np.errstate(over="ignore"):
            values = np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[tensor.stored])
            np.testing.assert_array_equal(tensor.values, values.astype(np.float32))
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


@pytest.mark.parametrize("mutants", [60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", checkpoint())
def test_mutants_of_every_file_are_read_as_the_library_reads_them_or_refused(tmp_path, name, mutants):
    files, draw = checkpoint(), random.Random(name)
    folder = written(tmp_path / "m", files)
    assert same_or_refused(folder)
    read_ones = 0
    for _ in range(mutants):
        damage = mutated if name.endswith("safetensors") else damaged
        written(folder, {name: damage(files[name], draw)})
        read_ones += same_or_refused(folder)
    assert 0 < read_ones < mutants, "both happen"


@pytest.mark.parametrize("names", ["ba", "zb"])
def test_a_tensor_without_values_is_read_beside_its_neighbour(tmp_path, names):
    arrays = {"a": np.zeros(0), "b": np.ones(2), "z": np.zeros(0)}
    save_file(arrays, tmp_path / "x.safetensors")
    np.testing.assert_equal(
        Tensors(resolve(str(tmp_path), Client())).read(names), {name: arrays[name] for name in names}
    )


def pack(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


LONG = "x" * 10**6
TWO = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
REFUSED = {
    "no bytes": (b"", 0, "a header of 0 bytes is announced in a file of 0"),
    "longer than the file": (struct.pack("<Q", 100) + b"{}", 0, "a header of 100 bytes is announced in a file of 10"),
    "longer than any": (struct.pack("<Q", 100_000_001), 10**12, "a header of 100000001 bytes is announced"),
    "no object": (pack([1]), 0, "invalid JSON in header"),
    "an array taken for an object": (pack({"a": ["F32", [1], [0, 4]]}, bytes(4)), 0, "indices must be"),
    "a long name": (pack({LONG: 1}), 0, "invalid JSON in header"),
    "a gap after a long name": (pack({LONG: TWO | {"data_offsets": [8, 16]}}, bytes(16)), 0, "invalid offset"),
    "cut": (pack({"a": TWO}, bytes(7)), 0, "file not fully covered"),
    "the size of no file": (pack({}), 10**18, "large"),
    "a size that no offset has": (pack({}), 10**19, "large"),
}
"""Contents, the size of the file that begins with them (0: theirs), and what is said of it."""


@pytest.mark.parametrize(("contents", "size", "said"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_header_is_refused_in_a_short_line(contents, size, said):
    with pytest.raises(UserError, match=f"it: not a sound safetensors file: .*{said}") as raised:
        read_header(SimpleNamespace(name="it", size=size or len(contents), head=lambda: contents))
    assert len(str(raised.value)) <= 300


@pytest.mark.parametrize("text", [b"no", b"[1]", b"[" * 10**5, b'"\xff"'])
def test_a_config_that_is_none_is_refused(tmp_path, text):
    folder = written(tmp_path / "m", checkpoint() | {"config.json": text})
    with pytest.raises(UserError, match=r"config\.json: not a JSON object; mend it, or take it away"):
        read(folder)


TYPES = {"F32": ("<f4", "float32"), "F16": ("<f2", "float16"), "F64": ("<f8", "float64"), "BF16": ("<u2", "bfloat16")}


@pytest.mark.parametrize("stored", TYPES)
def test_every_type_becomes_float32_and_is_recorded(tmp_path, stored):
    code, name = TYPES[stored]
    values = np.array([0.1, -2.5, 1e-7, 3e4, 1e300, np.nan, -np.inf])
    with np.errstate(over="ignore"):
        bits = values.astype("<f4").view("<u4")
        raw = (bits >> 16).astype("<u2") if stored == "BF16" else values.astype(code)
        expected = (bits & 0xFFFF0000).view("<f4") if stored == "BF16" else raw.astype(np.float32)
    path = tmp_path / "x.safetensors"
    spec = TensorSpec(dtype=name, shape=[7], data_ptr=raw.ctypes.data, data_len=raw.nbytes)
    serialize_file({"ln_f.weight": spec}, str(path))
    (tensor,) = read(path).tensors
    assert (tensor.stored, tensor.values.dtype) == (stored, np.float32)
    np.testing.assert_array_equal(tensor.values, expected)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (np.ones((2, 4), np.float32), r"no norm in it; unrecognised: ln_f\.weight \[2, 4\]"),
        (np.ones(0, np.float32), r"no norm in it; unrecognised: ln_f\.weight \[0\]"),
        (np.ones(4, np.int64), r"ln_f\.weight is stored as I64; only F32, F16, F64, BF16 are read"),
    ],
)
def test_what_no_norm_can_be_is_refused(tmp_path, tensor, said):
    save_file({"ln_f.weight": tensor}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=said):
        read(tmp_path / "x.safetensors")


def test_a_norm_that_no_memory_holds_is_refused_unread(tmp_path):
    n = 10**12
    entry = {"ln_f.weight": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}
    text = json.dumps(entry).encode()
    with (tmp_path / "x.safetensors").open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + 4 * n)
    with pytest.raises(
        UserError, match="its norms have 4,000,000,000,000 bytes, more than the 268,435,456 that are read"
    ):
        read(tmp_path / "x.safetensors")


def test_a_text_that_is_too_large_is_refused(tmp_path, monkeypatch):
    folder = written(tmp_path / "m", checkpoint())
    monkeypatch.setattr("goldilocks.checkpoints.ranges.MAX_TEXT", 20)
    with pytest.raises(UserError, match=r"\.json: [0-9]+ bytes, more than the 20 that are read whole"):
        read(folder)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n"


@pytest.mark.parametrize("name", checkpoint())
def test_a_git_lfs_pointer_is_told(tmp_path, name):
    folder = written(tmp_path / "m", checkpoint() | {name: POINTER})
    with pytest.raises(UserError) as raised:
        read(folder)
    assert str(raised.value) == f"{folder / name}: a Git LFS pointer in place of the file; fetch it with git lfs pull"


def shards(folder, numbers, config=None):
    """Write shards of a model of four blocks, two of them in the first of three shards, the last norm in the third."""
    tensors, parts = gpt2_tensors(blocks=4), {1: ("h.0.", "h.1."), 2: ("h.2.", "h.3.ln_1"), 3: ("h.3.ln_2", "ln_f")}
    files = {
        f"model-{n:05}-of-00003.safetensors": save(
            {name: tensors[name] for name in tensors if name.startswith(parts[n])}
        )
        for n in numbers
    }
    return written(folder, files | ({"config.json": json.dumps(config).encode()} if config else {}))


OF_FOUR = {"model_type": "gpt2", "n_layer": 4}
SHARDS = {
    "all": ([1, 2, 3], None, "3 of 3 shards, and no index"),
    "the first": ([1], OF_FOUR, "1 of 3 shards, and no index; missing: blocks 2-3, any outside of blocks"),
    "the second": ([2], OF_FOUR, "1 of 3 shards, and no index; missing: blocks 0-1, 3, any outside of blocks"),
    "all but one": ([1, 3], OF_FOUR, "2 of 3 shards, and no index; missing: blocks 2-3"),
    "unknown depth": (
        [1], None, "1 of 3 shards, and no index; missing: any after block 1, any outside of blocks",
    ),
    "depth of a part": (
        [1], {"model_type": "gpt2", "text_config": {"num_hidden_layers": 3}},
        "1 of 3 shards, and no index; missing: block 2, any outside of blocks",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("numbers", "config", "said"), SHARDS.values(), ids=SHARDS)
def test_of_shards_without_an_index_it_is_told_what_is_missing(tmp_path, numbers, config, said):
    folder = shards(tmp_path / "m", numbers, config)
    found = read(folder)
    assert said in found.notes
    if numbers == [1, 2, 3]:
        assert len(found.tensors) == 4 * 4 + 2
    if len(numbers) == 1:
        assert said in read(next(folder.glob("*.safetensors"))).notes, "named alone too"


def test_shards_that_hold_no_norm_or_one_twice_are_refused(tmp_path):
    folder = shards(tmp_path / "m", [1, 2])
    (folder / "model-00003-of-00003.safetensors").write_bytes(
        (folder / "model-00001-of-00003.safetensors").read_bytes()
    )
    with pytest.raises(UserError, match=r"h\.0\.\S+ is in model-00001\S+ and in model-00003"):
        read(folder)
    alone = tmp_path / "model-00002-of-00003.safetensors"
    save_file({"lm_head.weight": np.ones((2, 2), np.float32)}, alone)
    with pytest.raises(UserError, match="no norm in 1 of its 3 shards"):
        read(alone)
