import json

import numpy as np
import pytest
from hub_server import BOOK, serving
from safetensors.numpy import save
from test_inputs import TEXT, gpt2_tensors

from stages.common import files
from stages.common.cli import UserError
from stages.sources import embedded, hub

REPOSITORY = "openai-community/gpt2"
COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
START = "*** START OF THE PROJECT GUTENBERG EBOOK GULLIVER'S TRAVELS ***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK GULLIVER'S TRAVELS ***"


def gutenberg(text=TEXT, title="Title: Gulliver's Travels into several remote nations"):
    return f"\ufeffThe Project Gutenberg eBook\r\n{title}\r\n\r\n{START}\r\n{text}\r\n{END}\r\nlicence".encode()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    embedded.train_tokenizer(TEXT, 300).model.save(str(folder))
    contents = {name: (folder / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    large = {"padding": np.zeros(500_000, np.float32)}
    return contents | {"model.safetensors": save(gpt2_tensors() | large)}


@pytest.fixture
def server(repository):
    with serving(dict(repository), gutenberg(), REPOSITORY, COMMIT) as running:
        yield running


def run(project, server, **changes):
    """Run the `inputs` stage against the server."""
    values = {
        "inputs.source": "hub",
        "inputs.text_url": server.address + BOOK,
        "inputs.retries": 1,
        "inputs.timeout": 2.0,
    }
    project.configure(*(f"{key}={value}" for key, value in (values | changes).items()))
    home = project.folder / "hub home"
    return project.stage("inputs", HF_ENDPOINT=server.address, HF_HOME=str(home), no_proxy="127.0.0.1")


def test_hub_brings_text_tokenizer_and_norms_and_says_where_from(project, server, repository):
    done = run(project, server)
    assert done.returncode == 0, done.stderr
    inputs = project.folder / "data" / "inputs"
    assert (inputs / "corpus.txt").read_text() == TEXT.strip() + "\n"
    for name in ("vocab.json", "merges.txt"):
        assert (inputs / "tokenizer" / name).read_bytes() == repository[name]
    tensors = files.read_tensors(inputs / "gpt2.safetensors")
    assert set(tensors) == {name for name in gpt2_tensors() if "ln_" in name}
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, gpt2_tensors()[name])
    provenance = json.loads((inputs / "provenance.json").read_text())
    assert provenance["source"] == "hub"
    assert [entry["revision"] for entry in provenance["inputs"]][1:] == [COMMIT] * 3
    assert server.bytes_sent < len(repository["model.safetensors"]) / 2, "only ranges of the checkpoint are read"


def test_a_busy_server_and_a_cut_connection_are_tried_again(project, server):
    server.faults |= {"503": 1, "cut": 1}
    done = run(project, server, **{"inputs.retries": 3})
    assert done.returncode == 0, done.stderr
    assert server.faults["503"] == server.faults["cut"] == 0, "both happened"


FAULTS = {
    "503": "503",
    "cut": "http://127.0.0.1",
    "other bytes": "what arrived is not what the hub lists",
    "other commit": "the hub answered for commit ffff",
    "ranges ignored": "ignores ranges",
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.items())
def test_what_does_not_stop_going_wrong_is_told_and_nothing_is_left_behind(project, server, fault, said):
    server.faults[fault] = 10**6
    done = run(project, server)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert list((project.folder / "data").glob("**/*")) == []


def test_a_server_that_is_not_there_is_told(project, server):
    server.server_close()
    done = run(project, server, **{"inputs.retries": 0})
    assert done.returncode == 2
    assert "check the connection, or set inputs.source" in done.stderr


def test_a_missing_file_is_told(project, server):
    del server.files["merges.txt"]
    done = run(project, server)
    assert done.returncode == 2
    assert "merges.txt" in done.stderr


def test_another_book_or_a_missing_marker_is_refused():
    assert hub.book(gutenberg(), "x") == TEXT.strip() + "\n"
    good = gutenberg().decode()
    for bad in (gutenberg(title="Title: Moby Dick").decode(), good.replace(START, ""), good.replace(END, "")):
        with pytest.raises(UserError, match="not Project Gutenberg's Gulliver's Travels"):
            hub.book(bad.encode(), "x")


@pytest.mark.parametrize(
    "contents",
    [b"\xff" * 200, (10**6).to_bytes(8, "little") + b"x" * 200, (4).to_bytes(8, "little") + b"nope" + b"x" * 200],
    ids=["huge header", "header longer than file", "header is not JSON"],
)
def test_what_is_no_safetensors_file_is_refused(server, contents):
    server.files["model.safetensors"] = contents
    client = hub.Client(2, 0)
    file = hub.RemoteFile("m", f"{server.address}/cdn/{REPOSITORY}/resolve/x/model.safetensors", len(contents), "x")
    with pytest.raises(UserError, match="not a safetensors file"):
        hub.remote_norms(client, file)


def test_a_tensor_outside_the_file_is_refused(server):
    header = {"ln_f.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    text = json.dumps(header).encode()
    contents = len(text).to_bytes(8, "little") + text + b"\0" * 8
    server.files["model.safetensors"] = contents
    file = hub.RemoteFile("m", f"{server.address}/cdn/{REPOSITORY}/resolve/x/model.safetensors", len(contents), "x")
    with pytest.raises(UserError, match=r"ln_f\.weight does not fit"):
        hub.remote_norms(hub.Client(2, 0), file)
