"""Single answers of web servers, played to the client without a network."""

import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import httpx2
import pytest
from conftest import ROOT
from safetensors.numpy import save
from test_inputs import gpt2_tensors

from goldilocks.checkpoints import client as requests
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.http import HttpFile
from goldilocks.checkpoints.ranges import Span
from goldilocks.core.cli import UserError

URL = "https://host/model.safetensors"
CONTENTS = save(gpt2_tensors())
SIZE = len(CONTENTS)


def response(status, content=b"", **headers):
    return httpx2.Response(status, headers=headers, stream=httpx2.ByteStream(content))


def part(request, size=SIZE, content=None, headers=()):
    """The answer of a good server to a request for a range, changed."""
    start, stop = (int(n) for n in request.headers["Range"].removeprefix("bytes=").split("-"))
    span = {"Content-Range": f"bytes {start}-{min(stop, size - 1)}/{size}"}
    return response(206, CONTENTS[start : stop + 1] if content is None else content, **span | dict(headers))


def playing(answer, retries=0):
    """A client to whom every request is answered by `answer`, and the list of the requests."""
    asked = []

    def reply(request):
        asked.append(request)
        return answer(request)

    client = Client(retries=retries)
    client._http = httpx2.Client(transport=httpx2.MockTransport(reply))
    return client, asked


def refused(answer, said):
    client, asked = playing(answer)
    with pytest.raises(UserError, match=said):
        HttpFile(URL, client).head()
    return asked


def redirect(there):
    return lambda _: response(302, Location=there)


def test_redirects_are_followed_with_care():
    refused(redirect("http://host/model"), f"{URL}: redirects to http:, which is not followed")
    refused(redirect("ftp://host/model"), f"{URL}: redirects to ftp:, which is not followed")
    refused(redirect("https://me:secret@host/x"), f"{URL}: redirects to an address with a password")
    asked = refused(lambda request: redirect(f"{request.url}x")(request), f"{URL}: redirects in circles")
    assert len(asked) <= requests.MAX_REDIRECTS + 1


def test_an_answer_that_is_compressed_is_refused():
    refused(lambda request: part(request, headers={"Content-Encoding": "gzip"}), f"{URL}: compressed on the way")
    client, _ = playing(lambda request: part(request, headers={"Content-Encoding": "Identity"}))
    assert HttpFile(URL, client).head() == CONTENTS


@pytest.mark.parametrize("status", [206, 416])
def test_a_text_of_which_a_part_comes_is_refused(status):
    client, _ = playing(lambda _: response(status, b"{}"))
    with pytest.raises(UserError, match=f"asked for all of it, the server says {status}"):
        client.text(URL)


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


@pytest.mark.parametrize(("asked", "least", "most"), [("7", 7, 7), ("soon", 0, 1), ("-5", 0, 1)])
def test_a_server_that_asks_for_time_gets_it(waits, capsys, asked, least, most):
    answers = iter([response(503, **{"Retry-After": asked}), response(200, b"{}")])
    client, _ = playing(lambda _: next(answers), retries=1)
    assert client.text(URL) == b"{}"
    assert least <= waits[0] <= most
    said = f"{URL}: the server says 503 Service Unavailable; trying again in {waits[0]:.0f} s\n"
    assert capsys.readouterr().err == (said if least else "")


@pytest.mark.usefixtures("waits")
def test_a_server_that_asks_for_too_much_time_is_given_up():
    client, _ = playing(lambda _: response(503, **{"Retry-After": "3600"}), retries=1)
    with pytest.raises(UserError, match="503 Service Unavailable, and asks us to wait for 3,600 s"):
        client.text(URL)


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        ({}, {"size": SIZE + 1}, "was replaced or cut while it was being read; try again"),
        ({"ETag": "a"}, {"headers": {"ETag": "b"}}, "was replaced"),
        ({"Last-Modified": "x"}, {"headers": {"Last-Modified": "y"}}, "was replaced"),
        ({}, {"headers": {"Content-Range": f"bytes 7-18/{SIZE}"}}, "asked for bytes 8-19, the server sends 7-18"),
        ({}, {"content": CONTENTS[8:19]}, "11 bytes came of the 12 asked for"),
        ({}, {"headers": {"Content-Range": "nonsense"}}, "does not say which part of how large a file it sends"),
    ],
)
def test_a_part_of_another_file_or_another_part_is_refused(first, then, said):
    answers = iter([{"headers": first}, then])
    client, _ = playing(lambda request: part(request, **next(answers)))
    source = HttpFile(URL, client)
    source.head()
    with pytest.raises(UserError, match=f"{URL}: .*{said}"):
        source.read([Span(8, 20)])


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
