"""Norms over HTTP, from a real server on loopback that behaves, and from one that does not."""

import json
import re
import time

import numpy as np
import pytest
from hub_server import PLAIN, serving
from safetensors.numpy import save
from test_inputs import gpt2_tensors

from goldilocks.checkpoints import client as requests
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.ranges import HEAD
from goldilocks.checkpoints.resolve import origin
from goldilocks.core.cli import UserError

PADDING = {f"h.{i}.attn.c_attn.big": np.zeros(50_000, np.float32) for i in range(3)}
TENSORS = gpt2_tensors(blocks=3) | PADDING
NORMS = {name: array for name, array in TENSORS.items() if "ln_" in name}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(requests, "FIRST_WAIT", 0.01)
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    files = {"model.safetensors": save(TENSORS), "config.json": json.dumps({"model_type": "gpt2"}).encode()}
    with serving(files) as running:
        yield running


def survey(server, client=None, name="model.safetensors"):
    client = client or Client(timeout=1.0, retries=2)
    return read(f"{server.address}{PLAIN}/{name}", client), client.tally


def assert_complete(extraction):
    assert {tensor.name for tensor in extraction.tensors} == set(NORMS)
    for tensor in extraction.tensors:
        np.testing.assert_array_equal(tensor.values, NORMS[tensor.name])


def test_only_the_header_and_the_norms_are_read_and_counted(server):
    server.delay = 0.1
    found, tally = survey(server)
    assert_complete(found)
    assert (found.model, found.family, found.notes) == ("plain", "GPT-2", [])
    assert 3 <= server.most_at_once <= requests.AT_ONCE, "several requests are in flight at once"
    assert tally.requests == len(server.requests) <= 2 + 4
    assert len(server.requests) == len(set(server.requests)), "nothing is asked for twice"
    assert tally.bytes == server.bytes_sent <= HEAD + 4000 + 30
    assert tally.bytes < len(server.files["model.safetensors"]) / 10


@pytest.mark.parametrize("fault", ["503", "cut", "silence", "no server"])
def test_a_temporary_failure_is_retried_and_a_lasting_one_is_one_line(server, fault):
    server.faults[fault] = 1
    if fault != "no server":
        assert_complete(survey(server, Client(timeout=1.0, retries=1))[0])
        assert server.faults[fault] == 0, "it happened"
    server.faults[fault] = 10**6
    if fault == "no server":
        server.server_close()
    with pytest.raises(UserError) as raised:
        survey(server, Client(timeout=0.2, retries=1))
    (line,) = raised.value.problems
    assert line.startswith(server.address)
    assert line.endswith("(2 attempts); check the address and the connection")
    assert "\n" not in line


def test_a_file_that_is_empty_or_missing_or_can_not_be_had_in_parts(server):
    server.faults["ranges ignored"] = 1
    with pytest.raises(UserError, match="the server ignores ranges and would send the whole file; download it"):
        survey(server)
    server.files["model.safetensors"] = b""
    with pytest.raises(UserError, match="the file is empty"):
        survey(server)
    with pytest.raises(UserError, match=r"nothing\.safetensors: no such file \(404\)"):
        survey(server, name="nothing.safetensors")
    assert not [path for path, _ in server.requests if "index" in path], "who names a file means it"


def test_an_error_ends_it_at_once_whatever_else_hangs(server):
    server.faults["silence"] = 1  # for config.json; a file that is not there has none
    started = time.monotonic()
    with pytest.raises(UserError, match="no such file"):
        survey(server, Client(timeout=30.0, retries=0), name="nothing.safetensors")
    assert time.monotonic() - started < server.silence - 1


def test_headers_that_drip_are_given_up(server):
    server.faults["drip"] = 10
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no answer in 0\.4 s; check the address"):
        survey(server, Client(timeout=0.2, retries=0))
    assert time.monotonic() - started < 2


def test_a_signed_address_is_asked_for_one_file_and_its_signature_is_shown_nowhere(server):
    server.faults["signed"] = 10**6
    found, tally = survey(server, name="model.safetensors?signature=good")
    assert_complete(found)
    assert (found.model, found.notes) == ("plain", ["no config.json; read by its names, as GPT-2"])
    assert tally.requests == len(server.requests)
    assert origin(f"{server.address}/x.safetensors?signature=good") == f"{server.address}/x.safetensors"
    assert_complete(survey(server, name=f"model.safetensors?signature=good&long={'x' * 5000}")[0])
    with pytest.raises(UserError) as raised:
        survey(server, name="model.safetensors?signature=secret")
    refused = "model.safetensors: access refused (403); for a private or gated model set HF_TOKEN"
    assert refused in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_proxy_is_used_where_the_environment_names_one(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    assert_complete(read(f"http://nowhere.invalid{PLAIN}/model.safetensors", Client(1.0, 0)))
    assert {path.split("/")[2] for path, _ in server.requests} == {"nowhere.invalid"}


def shard(server):
    """Serve the model in three shards, the last of them without norms; returns the index's map."""
    names = sorted(set(TENSORS) - {"wte.weight"})
    parts = {"model-1.safetensors": names[:8], "model-2.safetensors": names[8:], "model-3.safetensors": ["wte.weight"]}
    del server.files["model.safetensors"]
    server.files |= {file: save({name: TENSORS[name] for name in inside}) for file, inside in parts.items()}
    weight_map = {name: file for file, inside in parts.items() for name in inside}
    server.files[INDEX] = json.dumps({"weight_map": weight_map}).encode()
    return weight_map


@pytest.mark.parametrize("name", [INDEX, ""])
def test_of_a_sharded_model_only_shards_with_norms_are_opened(server, name):
    shard(server)
    found, _ = survey(server, name=name)
    assert_complete(found)
    opened = {path for path, _ in server.requests}
    assert f"{PLAIN}/model-1.safetensors" in opened
    assert f"{PLAIN}/model-3.safetensors" not in opened


def test_a_store_that_refuses_missing_files_may_hold_shards(server):
    shard(server)
    del server.files["config.json"]
    server.faults["nothing listed"] = 10**6
    found, _ = survey(server, name="")
    assert_complete(found)
    assert re.search(r"config\.json: access refused \(403\).*; going on without it$", found.notes[0])
    del server.files[INDEX]
    with pytest.raises(UserError, match=r"plain/model\.safetensors: access refused"):
        survey(server, name="")


def test_a_web_page_in_place_of_a_file_is_no_file(server):
    server.faults["a page for all"] = 10**6
    del server.files["config.json"]
    page = "config.json: the server sends a web page in place of the file; going on without it"
    found, _ = survey(server)
    assert_complete(found)
    assert found.notes == [f"{server.address}{PLAIN}/{page}", "no config.json; read by its names, as GPT-2"]
    shard(server)
    assert_complete(survey(server, name="")[0])
    with pytest.raises(UserError, match=r"other\.safetensors: the server sends a web page in place of the file"):
        survey(server, name="other.safetensors")


def test_a_shard_without_what_the_index_says_is_refused(server):
    moved = shard(server) | {"ln_f.weight": "model-1.safetensors"}
    server.files[INDEX] = json.dumps({"weight_map": moved}).encode()
    with pytest.raises(UserError, match=r"model-1\.safetensors: no ln_f\.weight in it, where the index says it is"):
        survey(server, name="")
