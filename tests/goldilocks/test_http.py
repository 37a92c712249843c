"""Norms over HTTP, from a real server on loopback that behaves, and from one that does not."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from conftest import ROOT
from hub_server import PLAIN, serving
from safetensors.numpy import save
from test_inputs import gpt2_tensors

from goldilocks.checkpoints import client as requests
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.ranges import HEAD, Span, Tally, merged
from goldilocks.checkpoints.resolve import origin, resolve
from goldilocks.core.cli import UserError

REPOSITORY = "someone/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PADDING = {f"h.{i}.attn.c_attn.big": np.zeros(50_000, np.float32) for i in range(3)}
TENSORS = gpt2_tensors(blocks=3) | PADDING
NORMS = {name: array for name, array in TENSORS.items() if "ln_" in name}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(requests, "FIRST_WAIT", 0.01)
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    files = {"model.safetensors": save(TENSORS), "config.json": json.dumps({"model_type": "gpt2"}).encode()}
    with serving(files, b"", REPOSITORY, COMMIT) as running:
        yield running


def survey(server, client=None, name="model.safetensors"):
    client = client or Client(Tally(), timeout=1.0, retries=2)
    return extract(resolve(f"{server.address}{PLAIN}/{name}", client)), client.tally


def assert_complete(found):
    assert {tensor.name for tensor in found.tensors} == set(NORMS)
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.values, NORMS[tensor.name])


def test_only_the_header_and_the_norms_are_read_and_counted(server):
    found, tally = survey(server)
    assert_complete(found)
    assert (found.model, found.family, found.notes) == ("plain", "GPT-2", [])
    assert tally.requests == len(server.requests) <= 2 + 4
    assert tally.bytes == server.bytes_sent <= HEAD + 4000 + 30
    assert tally.bytes < len(server.files["model.safetensors"]) / 10


def test_several_requests_are_in_flight_at_once(server):
    server.delay = 0.1
    survey(server)
    assert 3 <= server.most_at_once <= requests.AT_ONCE


def test_a_long_header_takes_one_request_more(server):
    small = {f"x.{i}.weight": np.zeros(1, np.float32) for i in range(800)}
    server.files["model.safetensors"] = save(TENSORS | small)
    assert int.from_bytes(server.files["model.safetensors"][:8], "little") > HEAD
    assert_complete(survey(server)[0])


@pytest.mark.parametrize(("spans", "expected"), [
    ([], []), ([(5, 9), (0, 2)], [(0, 9)]), ([(0, 2), (2 + 11, 20)], [(0, 2), (13, 20)]), ([(0, 9), (3, 4)], [(0, 9)]),
])  # fmt: skip
def test_neighbouring_spans_are_read_as_one(spans, expected):
    assert merged([Span(*span) for span in spans], gap=10) == [Span(*span) for span in expected]


@pytest.mark.parametrize("fault", ["429", "500", "503", "cut", "silence"])
def test_what_may_pass_is_tried_again(server, fault):
    server.faults[fault] = 2
    found, _ = survey(server)
    assert_complete(found)
    assert server.faults[fault] == 0, "it happened"


FINAL = {
    "503": "the server says 503 Service Unavailable (3 attempts); check the address and the connection",
    "cut": "(3 attempts); check the address and the connection",
    "silence": "(3 attempts); check the address",
    "401": "access refused (401); for a private or gated model set HF_TOKEN",
    "ranges ignored": "ignores ranges and would send the whole file; download it, or allow that with --whole",
    "replaced": "the file was replaced or cut while it was being read; try again",
    "another range": "the server sends",
    "no size": "the server does not say which part of how large a file it sends",
}


@pytest.mark.parametrize(("fault", "said"), FINAL.items())
def test_what_does_not_pass_is_told_in_one_line(server, fault, said):
    server.faults[fault] = 1 if fault in ("replaced", "another range") else 10**6
    if fault == "replaced":
        server.delay = 0.05
        del server.files["config.json"]
    with pytest.raises(UserError) as raised:
        survey(server)
    (line,) = raised.value.problems
    assert said in line
    assert line.startswith(server.address)
    assert "\n" not in line


def test_a_server_that_ignores_ranges_may_send_the_whole_file_if_that_is_asked_for(server):
    server.faults["ranges ignored"] = 10**6
    size = len(server.files["model.safetensors"])
    found, tally = survey(server, Client(Tally(), 1.0, 0, whole=size))
    assert_complete(found)
    assert tally.bytes >= size
    with pytest.raises(UserError, match=rf"{size:,} bytes, --whole allows {size - 1:,}; download it yourself"):
        survey(server, Client(Tally(), 1.0, 0, whole=size - 1))


def test_a_file_that_is_empty_or_not_there(server):
    server.files["model.safetensors"] = b""
    with pytest.raises(UserError, match="the file is empty"):
        survey(server)
    with pytest.raises(UserError, match=r"nothing\.safetensors: no such file \(404\)"):
        survey(server, name="nothing.safetensors")
    assert not [path for _, path, _ in server.requests if "index" in path], "who names a file means it"


def test_a_server_that_is_not_there_is_told(server):
    server.server_close()
    with pytest.raises(UserError, match="check the address and the connection"):
        survey(server)


def test_what_fails_is_told_at_once_whatever_else_hangs(server):
    server.faults["silence"] = 1  # 3 s, for config.json; a file that is not there has none
    started = time.monotonic()
    with pytest.raises(UserError, match="no such file"):
        survey(server, Client(Tally(), timeout=30.0, retries=0), name="nothing.safetensors")
    assert time.monotonic() - started < 2


def test_headers_that_drip_are_given_up(server):
    server.faults["drip"] = 10
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no answer in 0\.4 s; check the address"):
        survey(server, Client(Tally(), timeout=0.2, retries=0))
    assert time.monotonic() - started < 2


def test_a_server_that_asks_for_time_gets_it(server, monkeypatch, capsys):
    waits = []
    monkeypatch.setattr(requests.time, "sleep", waits.append)
    server.files.pop("config.json")
    later = datetime.now(UTC) + timedelta(seconds=30)
    for asked in ("7", format_datetime(later, usegmt=True)):
        server.refusal_headers["Retry-After"] = asked
        server.faults["503"] = 1
        assert_complete(survey(server)[0])
    for nonsense in ("soon", "Mon, 1 Jan 99999999999999999999 00:00:00 GMT", "-5"):
        server.refusal_headers["Retry-After"] = nonsense
        server.faults["503"] = 1
        survey(server)
    asked, until, own = sorted(waits, reverse=True)[1], max(waits), min(waits)
    assert asked == 7.0
    assert 25 < until <= 30
    assert own < 1
    assert "the server says 503 Service Unavailable; trying again in 7 s" in capsys.readouterr().err
    server.refusal_headers["Retry-After"] = "3600"
    server.faults["503"] = 10
    with pytest.raises(UserError, match="503 Service Unavailable, and asks us to wait for 3,600 s"):
        survey(server)


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
    assert "model.safetensors: access refused (403)" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_store_that_lists_nothing_may_hold_shards(server):
    shards(server)
    del server.files["config.json"]
    server.faults["nothing listed"] = 10**6
    found, _ = survey(server, name="")
    assert_complete(found)
    assert found.notes[0].endswith("config.json: access refused (403); for a private or gated model set HF_TOKEN; "
                                   "going on without it")  # fmt: skip
    del server.files["model.safetensors.index.json"]
    with pytest.raises(UserError, match=r"plain/model\.safetensors: access refused"):
        survey(server, name="")


def test_a_proxy_is_used_where_the_environment_names_one(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    client = Client(Tally(), 1.0, 0)
    assert_complete(extract(resolve(f"http://nowhere.invalid{PLAIN}/model.safetensors", client)))
    assert {path.split("/")[2] for _, path, _ in server.requests} == {"nowhere.invalid"}


def test_progress_is_shown_on_a_terminal_if_it_takes_long(server):
    server.faults["ranges ignored"] = 10**6
    server.seconds_each = 3.0
    server.files["model.safetensors"] = save(TENSORS | {"wte.weight": np.zeros(500_000, np.float32)})
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "stages.layernorm", f"{server.address}{PLAIN}/model.safetensors", "--whole", "9"]
    done = subprocess.run(command, cwd=ROOT, stderr=theirs, stdout=subprocess.PIPE, text=True, timeout=60)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # at the end
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert done.returncode == 0
    assert re.search(rb"model\.safetensors: +\d+%.*2\.\d+M", shown)


def test_a_config_that_is_no_object_is_refused(server):
    server.files["config.json"] = b"[]"
    with pytest.raises(UserError, match=r"config\.json: not a JSON object"):
        survey(server)


def test_a_web_page_in_place_of_a_file_is_no_file(server):
    server.faults["a page for all"] = 10**6
    del server.files["config.json"]
    page = "config.json: the server sends a web page in place of the file; going on without it"
    found, _ = survey(server)
    assert_complete(found)
    assert found.notes == [f"{server.address}{PLAIN}/{page}", "no config.json; read by its names, as GPT-2"]
    shards(server)
    assert_complete(survey(server, name="")[0])
    with pytest.raises(UserError, match=r"other\.safetensors: the server sends a web page in place of the file"):
        survey(server, name="other.safetensors")


def shards(server, index=None):
    names = sorted(TENSORS)
    parts = {"model-1.safetensors": names[:8], "model-2.safetensors": names[8:]}
    parts["model-3.safetensors"] = ["wte.weight"]
    parts["model-2.safetensors"] = [name for name in parts["model-2.safetensors"] if name != "wte.weight"]
    del server.files["model.safetensors"]
    for file, inside in parts.items():
        server.files[file] = save({name: TENSORS[name] for name in inside})
    weight_map = {name: file for file, inside in parts.items() for name in inside}
    server.files["model.safetensors.index.json"] = json.dumps(index or {"weight_map": weight_map}).encode()
    return weight_map


@pytest.mark.parametrize("name", ["model.safetensors.index.json", ""])
def test_of_a_sharded_model_only_shards_with_norms_are_opened(server, name):
    shards(server)
    found, _ = survey(server, name=name)
    assert_complete(found)
    opened = {path for _, path, _ in server.requests}
    assert f"{PLAIN}/model-1.safetensors" in opened
    assert f"{PLAIN}/model-3.safetensors" not in opened


BAD = {
    "outside": {"weight_map": {"ln_f.weight": "../model.safetensors"}},
    "absolute": {"weight_map": {"ln_f.weight": "/etc/model.safetensors"}},
    "a query": {"weight_map": {"ln_f.weight": "x?y.safetensors"}},
    "a fragment": {"weight_map": {"ln_f.weight": "x#y.safetensors"}},
    "an address": {"weight_map": {"ln_f.weight": "http://elsewhere/model.safetensors"}},
    "a pickle": {"weight_map": {"ln_f.weight": "model.bin"}},
    "no files": {"weight_map": {"ln_f.weight": 1}},
    "no map": {"weights": {}},
    "empty": {"weight_map": {}},
    "a list": [1],
}


@pytest.mark.parametrize("index", BAD.values(), ids=BAD)
def test_an_index_that_is_damaged_or_leads_outside_is_refused(server, index):
    shards(server, index)
    with pytest.raises(UserError, match=r"index\.json: (points to .*|not an index of safetensors files)"):
        survey(server, name="model.safetensors.index.json")


def test_a_shard_without_what_the_index_says_is_refused(server):
    moved = shards(server)
    moved["ln_f.weight"] = "model-1.safetensors"
    server.files["model.safetensors.index.json"] = json.dumps({"weight_map": moved}).encode()
    with pytest.raises(UserError, match=r"model-1\.safetensors: no ln_f\.weight in it, where the index says it is"):
        survey(server, name="")
