"""Whole checkpoints that are damaged: read as the reference library reads them, or refused in one line."""

import json
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save
from test_header import json_like, mutated
from test_inputs import gpt2_tensors

from stages.common.cli import UserError
from stages.survey.client import Client
from stages.survey.extract import extract
from stages.survey.locate import locate
from stages.survey.ranges import Tally

INDEX = "model.safetensors.index.json"


def checkpoint():
    """The files of a sharded checkpoint, its second shard in half precision."""
    tensors = gpt2_tensors()
    first = {name: array for name, array in tensors.items() if name < "h.1"}
    second = {name: array.astype(np.float16) for name, array in tensors.items() if name not in first}
    weight_map = dict.fromkeys(first, "a.safetensors") | dict.fromkeys(second, "b.safetensors")
    return {
        "a.safetensors": save(first),
        "b.safetensors": save(second),
        INDEX: json.dumps({"metadata": {}, "weight_map": weight_map}).encode(),
        "config.json": json.dumps({"model_type": "gpt2"}).encode(),
    }


def written(folder, files):
    folder.mkdir(exist_ok=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    return folder


def same_or_refused(folder):
    """Whether it was read; checks that then every value is the one that the reference library reads."""
    try:
        found = extract(locate(str(folder), Client(Tally())))
    except UserError as error:
        assert all("\n" not in problem for problem in error.problems)
        return False
    library = {name: each for path in folder.glob("*.safetensors") for name, each in deserialize(path.read_bytes())}
    assert found.tensors
    for tensor in found.tensors:
        theirs = library[tensor.name]
        assert tensor.stored == theirs["dtype"]
        assert tensor.raw.tobytes() == bytes(theirs["data"])
        with np.errstate(over="ignore"):
            values = np.frombuffer(bytes(theirs["data"]), {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[tensor.stored])
            np.testing.assert_array_equal(tensor.values, values.astype(np.float32))
    return True


def damaged(contents, draw):
    """A text with a byte changed, left out or doubled, or its end cut off."""
    at = draw.randrange(len(contents))
    return draw.choice([
        contents[:at] + bytes([draw.randrange(256)]) + contents[at + 1 :],
        contents[:at] + contents[at + 1 :],
        contents[:at] + contents[at : at + 1] * 2 + contents[at + 1 :],
        contents[:at],
    ])  # fmt: skip


@pytest.mark.parametrize("name", checkpoint())
def test_mutants_of_every_file_are_read_as_the_library_reads_them_or_refused(tmp_path, name):
    files, draw = checkpoint(), random.Random(name)
    folder = written(tmp_path / "m", files)
    assert same_or_refused(folder)
    read_ones = 0
    for _ in range(400):
        contents = mutated(files[name], draw.randint) if name.endswith("safetensors") else damaged(files[name], draw)
        written(folder, {name: contents})
        read_ones += same_or_refused(folder)
    assert 0 < read_ones < 400, "both happen"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_like | st.dictionaries(st.sampled_from(["model_type", "do_layer_norm_before"]), json_like))
def test_any_config_is_refused_or_done_without(tmp_path, config):
    folder = written(tmp_path / "m", checkpoint() | {"config.json": json.dumps(config).encode()})
    assert same_or_refused(folder) == isinstance(config, dict)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    json_like
    | st.fixed_dictionaries({"weight_map": json_like | st.dictionaries(st.sampled_from([*gpt2_tensors()]), json_like)})
)
def test_any_index_is_refused_or_followed(tmp_path, index):
    same_or_refused(written(tmp_path / "m", checkpoint() | {INDEX: json.dumps(index).encode()}))
