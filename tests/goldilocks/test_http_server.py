"""Norms over HTTP from a real server on loopback, which behaves or does not."""

import time

import pytest
from hub_server import PLAIN, serving
from test_http import SIZE, WHOLE, assert_complete

from goldilocks.checkpoints import client as requests
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.ranges import HEAD
from goldilocks.core.cli import UserError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(requests, "FIRST_WAIT", 0.01)
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(dict(WHOLE)) as running:
        yield running


def survey(server, timeout, retries, name="model.safetensors"):
    client = Client(timeout, retries)
    return read(f"{server.address}{PLAIN}/{name}", client), client.tally


def test_only_the_header_and_the_norms_are_read_and_counted(server):
    server.delay = 0.1
    found, tally = survey(server, 1.0, 2)
    assert_complete(found)
    assert (found.model, found.family, found.notes) == ("plain", "GPT-2", [])
    assert 3 <= server.most_at_once <= requests.AT_ONCE, "several requests are in flight at once"
    assert tally.requests == len(server.requests) <= 2 + 4
    assert len(server.requests) == len(set(server.requests)), "nothing is asked for twice"
    assert tally.bytes == server.bytes_sent <= HEAD + 4000 + 30
    assert tally.bytes < SIZE / 10


@pytest.mark.parametrize("fault", ["503", "cut", "silence", "no server"])
def test_a_temporary_failure_is_retried_and_a_lasting_one_is_one_line(server, fault):
    server.faults[fault] = 1
    if fault != "no server":
        assert_complete(survey(server, 1.0, 1)[0])
        assert server.faults[fault] == 0, "it happened"
    server.faults[fault] = 10**6
    if fault == "no server":
        server.server_close()
    with pytest.raises(UserError) as raised:
        survey(server, 0.2, 1)
    (line,) = raised.value.problems
    assert line.startswith(server.address)
    assert line.endswith("(2 attempts); check the address and the connection")
    assert "\n" not in line


def test_an_error_ends_it_at_once_whatever_else_hangs(server):
    server.faults["silence"] = 1  # for config.json; a file that is not there has none
    started = time.monotonic()
    with pytest.raises(UserError, match="no such file"):
        survey(server, 30.0, 0, "nothing.safetensors")
    assert time.monotonic() - started < server.silence - 1


def test_headers_that_drip_are_given_up(server):
    server.faults["drip"] = 10
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no answer in 0\.4 s; check the address"):
        survey(server, 0.2, 0)
    assert time.monotonic() - started < 2


def test_a_proxy_is_used_where_the_environment_names_one(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    assert_complete(read(f"http://nowhere.invalid{PLAIN}/model.safetensors", Client(1.0, 0)))
    assert {path.split("/")[2] for path, _ in server.requests} == {"nowhere.invalid"}
