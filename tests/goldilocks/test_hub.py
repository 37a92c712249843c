import json

import numpy as np
import pytest
from hub_server import BOOK, COMMIT, point_huggingface_hub_at, serving
from safetensors.numpy import save
from test_http import playing, response
from test_inputs import TEXT, assert_norms_of_gpt2, gpt2_tensors, local_source

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.hub import HubFolder
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core.cli import UserError
from goldilocks.data_sources import hub

REPOSITORY = "openai-community/gpt2"
START = "*** START OF THE PROJECT GUTENBERG EBOOK GULLIVER'S TRAVELS ***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK GULLIVER'S TRAVELS ***"


def gutenberg(text=TEXT, title="Title: Gulliver's Travels into several remote nations"):
    return f"\ufeffThe Project Gutenberg eBook\r\n{title}\r\n\r\n{START}\r\n{text}\r\n{END}\r\nlicence".encode()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = local_source(tmp_path_factory.mktemp("good") / "source") / "gpt2"
    contents = {name: (folder / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    large = {"padding": np.zeros(500_000, np.float32)}
    return contents | {"model.safetensors": save(gpt2_tensors() | large)}


@pytest.fixture
def server(repository):
    with serving(dict(repository), REPOSITORY, gutenberg()) as running:
        yield running


@pytest.fixture(autouse=True)
def hub_home(server, monkeypatch, tmp_path):
    """huggingface_hub talks to the server, and its cache is empty."""
    point_huggingface_hub_at(server, tmp_path / "hub", monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("goldilocks.checkpoints.client.FIRST_WAIT", 0.01)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    server.files["config.json"] = b'{"model_type": "gpt2"}'
    return tmp_path / "hub"


def run(bare, server, retries=1):
    """Run the `inputs` stage against the server."""
    values = {"source": "hub", "text_url": server.address + BOOK, "retries": retries, "timeout": 2.0}
    bare.configure(*(f"inputs.{key}={value}" for key, value in values.items()))
    return bare.here("inputs")


def test_text_tokenizer_and_norms_come_from_a_busy_server_with_their_provenance(bare, server, repository):
    server.faults |= {"503": 1, "cut": 1}
    done = run(bare, server, retries=3)
    assert done.returncode == 0, done.stderr
    assert server.faults["503"] == server.faults["cut"] == 0, "both happened"
    inputs = bare.folder / "data" / "inputs"
    assert (inputs / "corpus.txt").read_text() == TEXT.strip() + "\n"
    for name in ("vocab.json", "merges.txt"):
        assert (inputs / "tokenizer" / name).read_bytes() == repository[name]
    assert_norms_of_gpt2(inputs)
    provenance = json.loads((inputs / "provenance.json").read_text())
    assert provenance["source"] == "hub"
    assert [entry["revision"] for entry in provenance["inputs"]][1:] == [COMMIT] * 3
    assert server.bytes_sent < len(repository["model.safetensors"]) / 2, "only ranges of the checkpoint are read"


FAULTS = {
    "503": "the server says 503 Service Unavailable (2 attempts)",
    "other bytes": "has another hash than the hub lists",
    "other commit": "the hub answered for commit ffff",
    "a missing file": "no merges.txt in it",
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.items())
def test_a_lasting_fault_is_one_error_and_leaves_nothing_behind(bare, server, fault, said):
    server.faults[fault] = 10**6
    if fault == "a missing file":
        del server.files["merges.txt"]
    done = run(bare, server)
    assert done.returncode == 2
    assert said in done.stderr
    assert hub.INSTEAD in done.stderr
    assert done.stderr.count("error: ") == 1
    assert list((bare.folder / "data").glob("**/*")) == []


def test_another_book_or_a_missing_marker_is_refused():
    assert hub.book(gutenberg(), "x") == TEXT.strip() + "\n"
    good = gutenberg().decode()
    for bad in (gutenberg(title="Title: Moby Dick").decode(), good.replace(START, ""), good.replace(END, "")):
        with pytest.raises(UserError, match="not Project Gutenberg's Gulliver's Travels"):
            hub.book(bad.encode(), "x")


def survey(where):
    client = Client(2.0, 1)
    return read(where, client), client.tally


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_repository_is_resolved_to_a_commit_which_is_recorded(server, revision):
    found, tally = survey(REPOSITORY + revision)
    assert (found.model, found.revision, found.family, found.notes) == ("gpt2", COMMIT, "GPT-2", [])
    assert len(found.tensors) == 10
    paths = [path for path, _ in server.requests]
    assert tally.requests == len(paths)
    assert all(f"/resolve/{COMMIT}/" in path for path in paths[1:])
    assert sum("/cdn/" not in path for path in paths if path.endswith("model.safetensors")) == 1, "redirected once"


def test_a_token_goes_to_the_hub_and_to_no_one_else(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.redirect_to = f"http://localhost:{server.server_port}"
    survey(REPOSITORY)
    at_hub = {token for path, token in server.tokens if REPOSITORY in path and not path.startswith("/cdn/")}
    elsewhere = {token for path, token in server.tokens if path.startswith("/cdn/")}
    assert at_hub == {"Bearer hf_secret"}
    assert elsewhere == {None}


def test_an_address_that_expired_is_asked_for_again(server):
    source = resolve(REPOSITORY, Client(2.0, 1)).folder.source("model.safetensors")
    source.head()
    server.faults["expired"] = 1
    assert source.read([range(8)]) == [server.files["model.safetensors"][:8]]
    assert server.faults["expired"] == 0
    assert sum(path.startswith(f"/{REPOSITORY}/resolve") for path, _ in server.requests) == 2


def in_cache(hub_home, server, *names):
    """Put files into the hub's local cache, as what `main` was."""
    snapshot = hub_home / "models--openai-community--gpt2" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in names:
        (snapshot / name).write_bytes(server.files[name])
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)


def test_files_in_the_local_cache_are_used_and_without_a_connection_that_is_told(server, hub_home, capsys):
    in_cache(hub_home, server, "model.safetensors", "config.json")
    assert survey(f"{REPOSITORY}@{COMMIT}")[0].revision == COMMIT
    assert server.requests == [], "a commit can't have changed"
    assert survey(REPOSITORY)[0].revision == COMMIT
    assert [path.split("?")[0] for path, _ in server.requests] == [f"/api/models/{REPOSITORY}/revision/main"]
    server.faults["503"] = 10**6
    assert survey(REPOSITORY)[0].revision == COMMIT
    assert f"going on with the local cache, which has commit {COMMIT}" in capsys.readouterr().err
    with pytest.raises(UserError, match="503"):
        survey(f"{REPOSITORY}@other")


def test_offline_means_offline(server, hub_home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="not in the hub's local cache, and HF_HUB_OFFLINE forbids"):
        survey(REPOSITORY)
    in_cache(hub_home, server, "model.safetensors")
    found, _ = survey(REPOSITORY)
    assert found.revision == COMMIT
    assert found.notes == ["no config.json; read by its names, as GPT-2"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("no/body", "no/body: neither a file or folder here nor a repository on the hub that you can see"),
        (f"{REPOSITORY}@other", "gpt2@other: neither a file or folder here nor a repository with this revision"),
        ("a--b/c", "a--b/c: no such file or folder, and no repository's name"),
    ],
)
def test_what_the_hub_does_not_have_is_told(where, said):
    with pytest.raises(UserError) as raised:
        survey(where)
    assert said in str(raised.value)


FILE = {"rfilename": "model.safetensors", "blobId": "0"}


@pytest.mark.parametrize(
    "text",
    [
        "null", "no", "[" * 10**5, f'{{"sha": "{COMMIT}"}}', '{"sha": "abc", "siblings": []}',
        *(json.dumps({"sha": COMMIT, "siblings": [file]}) for file in (
            {}, {"rfilename": 5}, {"rfilename": "../x.safetensors"}, {"rfilename": "a/.."}, FILE | {"lfs": {"size": 1}},
        )),
    ],
)  # fmt: skip
def test_a_hub_that_talks_nonsense_is_refused(text):
    client, _ = playing(lambda _: response(200, text.encode()))
    with pytest.raises(UserError, match=f"^{REPOSITORY}: the hub names no commit or no files$"):
        HubFolder(REPOSITORY, "", client)
