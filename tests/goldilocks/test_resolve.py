"""What a user may write for a checkpoint: found, or refused in one line that shows no secret."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.numpy import save
from test_http import TENSORS, assert_complete

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.ranges import HEAD
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core.cli import UserError


@pytest.mark.parametrize(
    ("where", "said"),
    [
        *(
            (f"{host}/model.safetensors", f"{host}/model.safetensors: ")  # of names that no host has; of more needed
            for host in (
                "http://[::1",
                "http://[zz]",
                "http://a..b",
                f"http://{'a' * 70}",
                "dir://x",
                "nonsense://host",
            )
        ),
        ("x/y/z", "no such file or folder; a repository on the hub is owner/name"),
        ("model.bin", "no such file or folder"),
        ("http://host/model.bin", "a pickle, which can run any code"),
        ("http://host/model?token=secret", "http://host/model: an address with a query must be that of one"),
        ("http://host/model.safetensors#secret", "http://host/model.safetensors: an address with a # leads into"),
        (" http://host/model.safetensors?secret", " http://host/model.safetensors: no such file or folder"),
        ("a:b=http://host/x.safetensors?secret", "a:b=http://host/x.safetensors: no such file or folder"),
        ("s3://bucket/model.safetensors?secret", "s3://bucket/model.safetensors: an address with a query must be"),
        (f"file?{'x' * 5000}secret", "file: no such file or folder"),
        ("http://me:secret@host/model.safetensors", "an address that holds a password can't be read"),
    ],
)
def test_what_is_no_checkpoint_is_told(tmp_path, monkeypatch, where, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        read(where, Client(1.0, 0))
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_what_fsspec_opens_is_read_by_ranges():
    memory = fsspec.filesystem("memory")
    memory.pipe(
        {"/models/tiny/model.safetensors": save(TENSORS), "/models/tiny/config.json": b'{"model_type": "gpt2"}'}
    )
    client = Client()
    found = read("memory://models/tiny", client)
    assert_complete(found)
    assert (found.model, found.notes) == ("tiny", [])
    assert client.tally.bytes < HEAD + 5000
    with pytest.raises(UserError, match="no such file"):
        read("memory://models/none/model.safetensors")


@pytest.mark.parametrize("folder", ["memory://replaced", "local"])
def test_a_file_that_is_replaced_between_two_reads_is_refused(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    system, path = fsspec.url_to_fs(f"{folder}/model.safetensors", auto_mkdir=True)
    system.pipe(path, save(TENSORS))
    source = resolve(folder, Client()).folder.source("model.safetensors")
    source.head()
    assert source.read([range(8)]) == [save(TENSORS)[:8]]
    system.pipe(f"{path}.new", save(TENSORS))
    system.mv(f"{path}.new", path)
    with pytest.raises(UserError, match="replaced or cut while it was being read"):
        source.read([range(8)])


def test_a_store_that_fsspec_opens_may_refuse_what_is_not_there(monkeypatch):
    def listed_by_nobody(self, path, **_):
        if path not in self.store:
            raise PermissionError("Forbidden")
        return {"type": "file", "size": len(self.store[path].getvalue())}

    fsspec.filesystem("memory").pipe("/refusing/model.safetensors", save(TENSORS))
    monkeypatch.setattr(MemoryFileSystem, "info", listed_by_nobody)
    found = read("memory://refusing")
    assert_complete(found)
    assert found.notes[0] == "memory://refusing/config.json: access refused: Forbidden; going on without it"
