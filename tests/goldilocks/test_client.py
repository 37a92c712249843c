"""Single answers of web servers, played to the client without a network."""

import signal
import subprocess
import sys
import time

import httpx2
import pytest
from conftest import ROOT
from safetensors.numpy import save
from test_inputs import gpt2_tensors

from goldilocks.checkpoints import client as requests
from goldilocks.checkpoints.client import AT_ONCE, Client, concurrent_map, redacted
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.http import HttpFile
from goldilocks.checkpoints.ranges import Span, Tally
from goldilocks.checkpoints.resolve import resolve
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
    return response(206, CONTENTS[start : stop + 1] if content is None else content, **span, **dict(headers))


def playing(answer, retries=0):
    """A client to whom every request is answered by `answer`, and the list of the requests."""
    asked = []

    def reply(request):
        asked.append(request)
        return answer(request)

    client = Client(Tally(), retries=retries)
    client._http = httpx2.Client(transport=httpx2.MockTransport(reply))
    return client, asked


def refused(answer, said):
    client, asked = playing(answer)
    with pytest.raises(UserError, match=said):
        HttpFile(URL, client).head()
    return asked


def redirect(there):
    return lambda _: response(302, Location=there)


def test_a_good_answer_is_taken():
    client, _ = playing(part)
    source = HttpFile(URL, client)
    assert source.head() == CONTENTS
    assert source.read([Span(8, 20)]) == [CONTENTS[8:20]]


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


@pytest.mark.parametrize("wrong", [CONTENTS[:-1], CONTENTS + b"x"])
def test_an_answer_of_another_length_is_refused(wrong):
    refused(lambda request: part(request, content=wrong), "bytes came of the|bytes that there should be")


@pytest.mark.parametrize("status", [206, 416])
def test_a_text_of_which_a_part_comes_is_refused(status):
    client, _ = playing(lambda _: response(status, b"{}"))
    with pytest.raises(UserError, match=f"asked for all of it, the server says {status}"):
        client.text(URL)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_error_that_may_pass_is_tried_again(monkeypatch, status):
    monkeypatch.setattr(requests.time, "sleep", lambda _: None)
    answers = iter([response(status), response(200, b"{}")])
    client, asked = playing(lambda _: next(answers), retries=1)
    assert client.text(URL) == b"{}"
    assert len(asked) == 2


@pytest.mark.parametrize("status", [400, 404, 410, 401, 403, 451, 501])
def test_an_error_that_does_not_pass_is_not(status):
    client, asked = playing(lambda _: response(status), retries=3)
    with pytest.raises(UserError, match=f"{URL}: .*{status}"):
        client.text(URL)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"size": SIZE + 1},
        {"headers": {"ETag": "b"}},
        {"headers": {"ETag": "a", "Last-Modified": "y"}, "size": SIZE - 1},
    ],
)
def test_another_size_or_mark_is_another_file(changed):
    answers = iter([{"headers": {"ETag": "a"}}, changed])
    client, _ = playing(lambda request: part(request, **next(answers)))
    source = HttpFile(URL, client)
    source.head()
    with pytest.raises(UserError, match=f"{URL}: the file was replaced or cut while it was being read"):
        source.read([Span(8, 20)])


def test_without_a_mark_the_date_tells():
    answers = iter(["x", "y"])
    client, _ = playing(lambda request: part(request, headers={"Last-Modified": next(answers)}))
    source = HttpFile(URL, client)
    source.head()
    with pytest.raises(UserError, match="was replaced"):
        source.read([Span(8, 20)])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:x@host/a?b#c", "https://host/a"),
        ("https://host/a@b?c", "https://host/a@b"),
        ("https://host/a#b?c", "https://host/a"),
    ],
)
def test_what_may_be_secret_is_not_shown(url, expected):
    assert redacted(url) == expected


def test_nothing_of_a_checkpoint_is_asked_twice():
    def answer(request):
        return part(request) if request.url.path.endswith("model.safetensors") else response(404)

    client, asked = playing(answer)
    assert len(extract(resolve(URL, client)).tensors) == 10
    keys = [(str(request.url), request.headers.get("Range")) for request in asked]
    assert len(keys) == len(set(keys))


def test_what_fails_begins_nothing_more():
    begun = []

    def work(n):
        begun.append(n)
        if n == 0:
            raise UserError("no")
        time.sleep(0.02)

    with pytest.raises(UserError, match="no"):
        concurrent_map(work, range(100))
    time.sleep(0.3)
    assert len(begun) <= 3 * AT_ONCE


def test_an_interrupt_ends_it_at_once():
    code = "import time; from goldilocks.core import cli; from goldilocks.checkpoints.client import concurrent_map;"
    code += "print(1, flush=True); cli.run(lambda: concurrent_map(lambda n: time.sleep(60), range(3)))"
    command = [sys.executable, "-c", code]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.stdout.readline()
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=20)[1] == "interrupted\n"
    assert started.returncode == 130
