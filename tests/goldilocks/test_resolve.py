"""What a user may write for a checkpoint: found, or refused in one line that shows no secret."""

import re

import pytest
from safetensors.numpy import save
from test_http import TENSORS, assert_complete

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.ranges import HEAD, Span
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core.cli import UserError


@pytest.mark.parametrize("host", ["http://[::1", "http://[zz]", "http://a..b", f"http://{'a' * 70}", "dir://x"])
def test_an_address_that_can_be_none_and_a_driver_that_needs_more_are_refused(host):
    with pytest.raises(UserError, match=re.escape(f"{host}/model.safetensors: ")):
        read(f"{host}/model.safetensors", Client(1.0, 0))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("x/y/z", "no such file or folder; a repository on the hub is owner/name"),
        ("model.bin", "no such file or folder"),
        ("http://host/model.bin", "a pickle, which can run any code"),
        ("http://host/model?token=secret", "http://host/model: an address with a query must be that of one"),
        ("http://host/model.safetensors#secret", "http://host/model.safetensors: an address with a # leads into"),
        (" http://host/model.safetensors?secret", " http://host/model.safetensors: no such file or folder"),
        ("a:b=http://host/x.safetensors?secret", "a:b=http://host/x.safetensors: no such file or folder"),
        ("s3://bucket/model.safetensors?secret", "s3://bucket/model.safetensors: an address with a query must be"),
        ("http://me@host/model.safetensors", "an address that holds a password can't be read"),
        (f"file?{'x' * 5000}secret", "file: no such file or folder"),
        ("nonsense://host/model.safetensors", "nonsense://host/model.safetensors: "),
        ("http://me:secret@host/model.safetensors", "an address that holds a password can't be read"),
    ],
)
def test_what_is_no_checkpoint_is_told(tmp_path, monkeypatch, where, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        read(where)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_store_that_fsspec_opens_may_refuse_what_is_not_there(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    info = MemoryFileSystem.info

    def listed_by_nobody(self, path, **more):
        if not self.exists(path):
            raise PermissionError("Forbidden")
        return info(self, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "exists", lambda self, path, **_: path in self.store)
    monkeypatch.setattr(MemoryFileSystem, "info", listed_by_nobody)
    MemoryFileSystem().pipe("/refusing/model.safetensors", save(TENSORS))
    found = read("memory://refusing")
    assert_complete(found)
    assert found.notes[0] == "memory://refusing/config.json: access refused: Forbidden; going on without it"


def test_what_fsspec_opens_is_read_by_ranges():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/models/tiny/model.safetensors", save(TENSORS))
    memory.pipe("/models/tiny/config.json", b'{"model_type": "gpt2"}')
    client = Client()
    found = read("memory://models/tiny", client)
    assert_complete(found)
    assert (found.model, found.notes) == ("tiny", [])
    assert client.tally.bytes < HEAD + 5000
    with pytest.raises(UserError, match="no such file"):
        read("memory://models/none/model.safetensors")
    source = resolve("memory://models/tiny", client).folder.source("model.safetensors")
    source.head()
    memory.pipe("/models/tiny/model.safetensors", save(TENSORS))
    with pytest.raises(UserError, match="replaced or cut while it was being read"):
        source.read([Span(0, 8)])
