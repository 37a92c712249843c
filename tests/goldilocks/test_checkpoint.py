"""Checkpoints are whole or not used; every way to break one was tried."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from goldilocks.core import checksums, dvc_files, files
from goldilocks.core.cli import UserError
from goldilocks.model5 import finished
from goldilocks.model5.checkpoint import PROGRESS, STATE, Checkpoints, key
from tools import run

LAYOUT = {"processes": 2, "threads": 1}
TABLES = {"tables": {"losses": {"step": [0, 1], "loss": [0.1, float("inf")]}}}


def state(step):
    return {"parameter.a": torch.arange(50.0) + step, "parameter.b": torch.arange(8, dtype=torch.uint8)}


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of the steps 10, 20 and 30, and snapshots of 0, 15 and 99."""
    checkpoints = Checkpoints("seed-0", {"train": 1}, tmp_path)
    checkpoints.snapshots.mkdir(parents=True)
    for step in (0, 15, 99):
        (checkpoints.snapshots / f"step-{step:06d}.safetensors").write_bytes(bytes([step]) * 100)
    for step in (10, 20, 30):
        checkpoints.save(step, LAYOUT, state(step), TABLES)
    return checkpoints


def test_the_newest_comes_back_as_it_was_saved_and_the_last_two_are_kept(saved):
    assert saved.steps() == [20, 30]
    found = saved.newest()
    assert (found.step, found.layout, found.contents) == (30, LAYOUT, TABLES)
    for name, tensor in state(30).items():
        assert torch.equal(found.tensors()[name], tensor)
        assert found.tensors()[name].dtype == tensor.dtype


def flip(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink], ids=["flipped bit", "truncated", "gone"])
@pytest.mark.parametrize("name", [STATE, PROGRESS, checksums.SUMS, "../qkv/step-000015.safetensors"])
def test_a_damaged_one_is_told_in_one_line_and_the_one_before_is_used(saved, capsys, name, damage):
    damage(saved.folder / "step-000030" / name)
    found = saved.newest()
    told = capsys.readouterr().err.splitlines()
    assert "step-000030: damaged" in told[0]
    if name != checksums.SUMS:
        assert f"{Path(name).name} is missing or has another checksum" in told[0]
    if ".." in name:  # step 20 knows this snapshot too
        assert found is None
        assert told[-1].endswith("none is left, training starts afresh")
    else:
        assert found.step == 20
        assert told[0].endswith("; step 20 is used")
        assert len(told) == 1
        assert saved.steps() == [20], "it is not tried again"


def test_one_that_cant_be_read_now_stays(saved, monkeypatch):
    def out_of_handles(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(files, "sha256", out_of_handles)
        with pytest.raises(OSError, match="Too many open files"):
            saved.newest()
    assert saved.newest().step == 30


def test_what_a_crash_left_is_removed_and_one_in_another_steps_place_is_not_read(saved, capsys):
    (saved.folder / ".step-000040.tmp").mkdir()
    (saved.folder / "step-000030").rename(saved.folder / "step-000040")
    assert saved.newest().step == 20
    assert sorted(path.name for path in saved.folder.iterdir()) == ["qkv", "step-000020"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("step-000040: damaged (it is that of step 30); step 20 is used")


@pytest.mark.usefixtures("saved")
def test_another_training_has_another_folder(tmp_path):
    assert Checkpoints("seed-0", {"train": 1}, tmp_path).newest().step == 30
    assert Checkpoints("seed-0", {"train": 2}, tmp_path).newest() is None
    assert Checkpoints("seed-1", {"train": 1}, tmp_path).newest() is None
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1}) != key({"a": 1, "b": 3})


@pytest.mark.parametrize("rows", [1, 100_000], ids=["in the tensors", "in the rows"])
def test_a_full_disk_is_told_and_the_last_good_one_stays(tmp_path, small_disk_at, rows):
    small_disk_at(tmp_path, "64k")
    checkpoints = Checkpoints("seed-0", {}, tmp_path)
    checkpoints.save(10, LAYOUT, state(10), TABLES)
    tensors = {"parameter.a": torch.zeros(20_000 if rows == 1 else 1)}
    with pytest.raises(UserError, match=r"step-000020: the checkpoint could not be written: .*No space left") as raised:
        checkpoints.save(20, LAYOUT, tensors, {"rows": list(range(rows))})
    assert ("it needs 0.1 MB" in str(raised.value)) == (rows == 1)
    assert str(raised.value).endswith("the one of step 10 stays")
    assert not list(checkpoints.folder.glob(".*.tmp"))
    assert checkpoints.newest().step == 10
    (tmp_path / "in the way").write_text("")
    with pytest.raises(UserError, match=r"could not be written: Not a directory; .* none before it"):
        Checkpoints("seed-0", {}, tmp_path / "in the way").save(10, LAYOUT, state(10), TABLES)


def test_checkpoints_go_when_dvc_has_recorded_the_outputs_and_not_before(tmp_path, monkeypatch, capsys):
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    output = Path("data/model5/seed-0")
    training, other = (finished.CHECKPOINTS / f"seed-0-{name}" for name in ("aa", "bb"))
    files.write_text(other / finished.OUTPUTS, "[1,")  # damaged, so it notes nothing
    files.write_text(output / "losses", "1")
    finished.record_outputs(training, [output])
    dvc_files.LOCK.write_text(f"md5: {'0' * 32}.dir")
    assert finished.prune() == [], "dvc.lock has another result"
    dvc_files.LOCK.write_text(f"md5: {dvc_files.md5(output)}")
    files.write_text(Path(".dvc/config"), "[core]\nno_scm = true\n")
    assert finished.prune() == [], "dvc.lock came with a clone, DVC has not stored the result yet"
    with Repo() as repo:
        repo.add(str(output))
    assert finished.prune() == [training]
    assert finished.unfinished() == [(other, 3)]
    run.remove_checkpoints()
    assert "seed-0-bb: a training that DVC has not recorded keeps" in capsys.readouterr().out


def test_trainings_that_begin_at_once_may_all_remove_the_same_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finished, "_in_cache", lambda _: True)
    training = finished.CHECKPOINTS / "seed-0-aa"
    (training / "qkv").mkdir(parents=True)
    for n in range(500):
        (training / "qkv" / f"{n}").write_text("")
    finished.record_outputs(training, [training / "qkv"])
    dvc_files.LOCK.write_text(f"md5: {dvc_files.md5(training / 'qkv')}")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: finished.prune(), range(8)))
    assert finished.unfinished() == []
