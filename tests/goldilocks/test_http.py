"""Norms over HTTP: single answers, without a network."""

import itertools
import json
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import httpx2
import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import save
from test_inputs import gpt2_tensors

from goldilocks.checkpoints import client as requests
from goldilocks.checkpoints.client import Client, HttpFile
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.ranges import HEAD
from goldilocks.checkpoints.resolve import origin
from goldilocks.core.cli import UserError

PADDING = {f"h.{i}.attn.c_attn.big": np.zeros(50_000, np.float32) for i in range(3)}
TENSORS = gpt2_tensors(blocks=3) | PADDING
NORMS = {name: array for name, array in TENSORS.items() if "ln_" in name}
CONTENTS = save(TENSORS)
SIZE = len(CONTENTS)
CONFIG = json.dumps({"model_type": "gpt2"}).encode()
INDEX = "model.safetensors.index.json"
FOLDER = "https://host/a"
URL = f"{FOLDER}/model.safetensors"


def assert_complete(extraction):
    assert {tensor.name for tensor in extraction.tensors} == set(NORMS)
    for tensor in extraction.tensors:
        np.testing.assert_array_equal(tensor.values, NORMS[tensor.name])


def response(status, content=b"", **headers):
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(content))


def part(request, contents=CONTENTS, size=None, content=None, headers=()):
    """The answer of a good server to a request for a range, changed."""
    start, stop = (int(n) for n in request.headers["Range"].removeprefix("bytes=").split("-"))
    size = size or len(contents)
    span = {"Content-Range": f"bytes {start}-{min(stop, size - 1)}/{size}"}
    return response(206, contents[start : stop + 1] if content is None else content, **span | dict(headers))


def playing(answer, retries=0):
    """A client to whom every request is answered by `answer`, and the list of the requests."""
    asked = []

    def reply(request):
        asked.append(request)
        return answer(request)

    client = Client(retries=retries)
    client._http = httpx2.Client(transport=httpx2.MockTransport(reply))
    return client, asked


def serving_files(files, missing=lambda _: response(404)):
    """As `playing`: a good server with these files in `FOLDER`, and what it answers where there is none."""

    def answer(request):
        contents = files.get(request.url.path.removeprefix("/a/"))
        if contents is None:
            return missing(request)
        return part(request, contents) if "Range" in request.headers else response(200, contents)

    return playing(answer)


def redirect(there):
    return lambda _: response(302, Location=there)


class Endless(httpx2.SyncByteStream):
    """A body that never ends, so many bytes at a time."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        return itertools.repeat(bytes(self.size))


NOT_FOLLOWED = "redirects to another scheme or with a password, which is not followed"
NO_TEXT = {
    "down": (redirect("http://host/model"), NOT_FOLLOWED),
    "to another protocol": (redirect("ftp://host/model"), NOT_FOLLOWED),
    "with a password": (redirect("https://me:secret@host/x"), NOT_FOLLOWED),
    "in circles": (lambda request: redirect(f"{request.url}x")(request), "redirects in circles"),
    "compressed": (lambda _: response(200, **{"Content-Encoding": "gzip"}), "compressed on the way.* not asked for"),
    "a part": (lambda _: response(206, b"{}"), "asked for all of it, the server says 206"),
    "no part": (lambda _: response(416, b"{}"), "asked for all of it, the server says 416"),
    "endless": (
        lambda _: httpx2.Response(200, stream=Endless(2**20)),
        f"more than the {requests.MAX_TEXT} bytes that there should be",
    ),
}


@pytest.mark.parametrize(("answer", "said"), NO_TEXT.values(), ids=NO_TEXT)
def test_an_answer_that_is_no_text_is_refused_at_once(answer, said):
    client, asked = playing(answer, retries=3)
    with pytest.raises(UserError, match=rf"^{FOLDER}/config\.json: {said}$"):
        client.text(f"{FOLDER}/config.json")
    assert len(asked) == (1 + requests.MAX_REDIRECTS if "circles" in said else 1)
    assert client.tally.bytes <= requests.MAX_TEXT + 2**20


def test_an_answer_of_a_byte_a_second_is_given_up_in_time(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(requests.time, "monotonic", lambda: next(clock) / 2)
    client, _ = playing(lambda _: httpx2.Response(200, stream=Endless(1)))
    with pytest.raises(UserError, match=r"only [0-9]+ bytes in 3[0-9] s"):
        client.text(URL)
    assert client.tally.bytes < 100


@pytest.mark.parametrize(
    ("status", "said"),
    [(416, "the file is empty"), (200, "the server ignores ranges and would send the whole file; download it")],
)
def test_a_file_that_is_empty_or_can_not_be_had_in_parts_is_refused(status, said):
    client, _ = playing(lambda _: response(status))
    with pytest.raises(UserError, match=f"^{URL}: {said}$"):
        HttpFile(URL, client).head()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the client sleeps, without sleeping."""
    seconds = []
    monkeypatch.setattr(requests, "time", SimpleNamespace(sleep=seconds.append, monotonic=time.monotonic))
    return seconds


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 400, 404, 410, 401, 403, 451, 501])
@pytest.mark.usefixtures("waits")
def test_a_temporary_error_is_retried_and_a_lasting_one_is_not(status):
    answers = iter([response(status), response(200, b"{}")])
    client, asked = playing(lambda _: next(answers), retries=1)
    lasting = status in (400, 404, 410, 401, 403, 451, 501)
    with pytest.raises(UserError, match=f"{URL}: .*{status}") if lasting else nullcontext():
        assert client.text(URL) == b"{}"
    assert len(asked) == 2 - lasting


@pytest.mark.parametrize(("asked", "least", "most"), [("7", 7, 7), ("soon", 0, 1), ("-5", 0, 1), ("3600", None, None)])
def test_a_server_that_asks_for_time_gets_it_unless_it_is_too_much(waits, capsys, asked, least, most):
    answers = iter([response(503, **{"Retry-After": asked}), response(200, b"{}")])
    client, _ = playing(lambda _: next(answers), retries=1)
    if most is None:
        with pytest.raises(UserError, match="503 Service Unavailable, and asks us to wait for 3,600 s"):
            client.text(URL)
        return
    assert client.text(URL) == b"{}"
    assert least <= waits[0] <= most
    said = f"{URL}: the server says 503 Service Unavailable; trying again in {waits[0]:.0f} s\n"
    assert capsys.readouterr().err == (said if least else "")


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        ({}, {"size": SIZE + 1}, "was replaced or cut while it was being read; try again"),
        ({"ETag": "a"}, {"headers": {"ETag": "b"}}, "was replaced"),
        ({"Last-Modified": "x"}, {"headers": {"Last-Modified": "y"}}, "was replaced"),
        ({}, {"headers": {"Content-Range": f"bytes 7-18/{SIZE}"}}, "asked for bytes 8-19, the server sends 7-18"),
        ({}, {"content": CONTENTS[8:21]}, "more than the 12 bytes that there should be"),
        ({}, {"content": CONTENTS[8:19]}, "11 bytes came of the 12 asked for"),
        ({}, {"headers": {"Content-Range": "nonsense"}}, "does not say which part of how large a file it sends"),
        ({"Content-Encoding": "Identity"}, {}, None),
    ],
)
def test_a_part_of_another_file_or_another_part_is_refused(first, then, said):
    answers = iter([{"headers": first}, then])
    client, _ = playing(lambda request: part(request, **next(answers)))
    source = HttpFile(URL, client)
    assert source.head() == CONTENTS[:HEAD]
    with pytest.raises(UserError, match=f"{URL}: .*{said}") if said else nullcontext():
        assert source.read([range(8, 20)]) == [CONTENTS[8:20]]


def test_a_token_does_not_go_where_another_thread_was_redirected_to():
    class Overtaken(HttpFile):
        """Redirected by another thread once its address is known."""

        _direct = property(lambda _: next(addresses), lambda *_: None)

    addresses = iter([URL, "https://elsewhere/model.safetensors"])
    client, asked = playing(part)
    Overtaken(URL, client, {"Authorization": "Bearer secret"}).head()
    assert [(request.url.host, request.headers.get("Authorization")) for request in asked] == [
        ("host", "Bearer secret")
    ]


def test_an_interrupt_ends_it_at_once():
    code = "import time; from goldilocks.core import cli; from goldilocks.checkpoints.client import concurrent_map;"
    code += "print(1, flush=True); cli.run(lambda: concurrent_map(lambda n: time.sleep(60), range(3)))"
    command = [sys.executable, "-c", code]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.stdout.readline()
    time.sleep(0.2)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=20)[1] == "interrupted\n"
    assert started.returncode == 130


WHOLE = {"model.safetensors": CONTENTS, "config.json": CONFIG}


def test_a_missing_file_is_told_and_who_names_a_file_means_it():
    client, asked = serving_files(WHOLE)
    with pytest.raises(UserError, match=r"nothing\.safetensors: no such file \(404\)"):
        read(f"{FOLDER}/nothing.safetensors", client)
    assert not [request for request in asked if "index" in str(request.url)]


def test_a_signed_address_is_asked_for_one_file_and_its_signature_is_shown_nowhere():
    client, asked = playing(lambda request: response(403) if "=good" not in str(request.url) else part(request))
    for signature in ("good", f"good&long={'x' * 5000}"):
        found = read(f"{URL}?signature={signature}", client)
        assert_complete(found)
        assert (found.model, found.notes) == ("a", ["no config.json; read by its names, as GPT-2"])
    assert client.tally.requests == len(asked)
    assert origin(f"{URL}?signature=good") == URL
    with pytest.raises(UserError) as raised:
        read(f"{URL}?signature=secret", client)
    assert str(raised.value) == f"{URL}: access refused (403); for a private or gated model set HF_TOKEN"


def shards(moved=()):
    """The model in three shards, the last of them without norms."""
    names = sorted(set(TENSORS) - {"wte.weight"})
    parts = {"model-1.safetensors": names[:8], "model-2.safetensors": names[8:], "model-3.safetensors": ["wte.weight"]}
    weight_map = {name: file for file, inside in parts.items() for name in inside} | dict(moved)
    files = {file: save({name: TENSORS[name] for name in inside}) for file, inside in parts.items()}
    return files | {INDEX: json.dumps({"weight_map": weight_map}).encode()}


@pytest.mark.parametrize("name", [f"/{INDEX}", ""])
def test_of_a_sharded_model_only_shards_with_norms_are_opened(name):
    client, asked = serving_files(shards())
    assert_complete(read(FOLDER + name, client))
    opened = {str(request.url) for request in asked}
    assert f"{FOLDER}/model-1.safetensors" in opened
    assert f"{FOLDER}/model-3.safetensors" not in opened


def test_a_shard_without_what_the_index_says_is_refused():
    client, _ = serving_files(shards({"ln_f.weight": "model-1.safetensors"}))
    with pytest.raises(UserError, match=r"model-1\.safetensors: no ln_f\.weight in it, where the index says it is"):
        read(FOLDER, client)


PAGE = b"\n<!DOCTYPE html><title>not found</title>"
INSTEAD = {
    "refused": (lambda _: response(403), "access refused (403); for a private or gated model set HF_TOKEN"),
    "a page": (
        lambda _: response(200, PAGE, **{"Content-Type": "text/html"}),
        "the server sends a web page in place of the file",
    ),
}


@pytest.mark.parametrize(("missing", "said"), INSTEAD.values(), ids=INSTEAD)
def test_a_store_that_does_not_tell_missing_files_may_hold_a_model_or_shards(missing, said):
    note = f"{FOLDER}/config.json: {said}; going on without it"
    for files in (WHOLE, shards()):
        files = {name: contents for name, contents in files.items() if name != "config.json"}
        found = read(FOLDER, serving_files(files, missing)[0])
        assert_complete(found)
        assert found.notes == [note, "no config.json; read by its names, as GPT-2"]
    with pytest.raises(UserError) as raised:
        read(FOLDER, serving_files({}, missing)[0])
    assert str(raised.value) == f"{URL}: {said}"
