"""What DVC takes on trust is looked at again where it was touched, and only there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from stages.common.cli import UserError
from stages.mending import trust


def stored(contents, ending=""):
    """An object of the cache, protected as DVC does it."""
    digest = hashlib.md5(contents).hexdigest() + ending
    path = trust.CACHE / trust.OBJECTS / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    path.chmod(0o444)
    return path


def overwritten(path, contents):
    """Other bytes of the same length, size and time as before."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(contents)
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A cache with three objects, and two outputs; all of it known."""
    monkeypatch.chdir(tmp_path)
    objects = [stored(b"one"), stored(b"two"), stored(b"[]", ".dir")]
    for path in (Path("data/a/b"), Path("reports/c")):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"three")
    trust.Look().note()
    return objects


@pytest.mark.parametrize("contents", [b"ona", b"on", b""])
def test_a_damaged_object_is_found_whatever_its_time_and_whether_it_was_known(here, contents):
    one, _, listed = here
    overwritten(one, contents) if len(contents) == 3 else damage(one, contents)
    damage(listed, b"[")
    assert sorted(trust.Look().damaged()) == sorted([one, listed])
    trust.KNOWN.unlink()
    assert sorted(trust.Look().damaged()) == sorted([one, listed])


def damage(path, contents):
    path.chmod(0o644)
    path.write_bytes(contents)
    path.chmod(0o444)


def test_only_what_was_touched_is_read(here, monkeypatch):
    read = []
    monkeypatch.setattr(trust, "is_sound", lambda path: read.append(path) or True)
    assert trust.Look().damaged() == []
    assert read == []
    here[1].touch()
    new = stored(b"four")
    assert trust.Look().damaged() == []
    assert sorted(read) == sorted([here[1], new])


@pytest.mark.usefixtures("here")
def test_an_output_that_was_touched_gets_a_new_time_and_no_other_does():
    known, touched = Path("reports/c"), Path("data/a/b")
    before = {path: path.stat().st_mtime_ns for path in (known, touched)}
    overwritten(touched, b"THREE")
    trust.Look().note()
    assert touched.stat().st_mtime_ns > before[touched]
    assert known.stat().st_mtime_ns == before[known]
    noted = trust.KNOWN.stat()
    trust.Look().note()
    assert trust.KNOWN.stat() == noted, "nothing is written where nothing is new"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("noted", [b"", b"{", b"[]", b"\xff"])
def test_notes_that_cannot_be_read_are_made_anew(noted):
    whole = trust.KNOWN.read_bytes()
    trust.KNOWN.write_bytes(noted)
    assert trust.Look().damaged() == []
    trust.Look().note()
    assert trust.known().keys() == trust.json.loads(whole).keys()


def test_what_goes_meanwhile_and_what_is_half_written_is_not_missed(here):
    look = trust.Look()
    here[0].touch()
    look = trust.Look()
    here[0].unlink()
    here[1].with_name(".Kq3xw.tmp").write_bytes(b"t")
    assert look.damaged() == []
    trust.touch(here[0])
    look.note()


@pytest.mark.usefixtures("here")
def test_an_output_that_cannot_be_touched_is_told_by_name(monkeypatch):
    def refuse(_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    with pytest.raises(OSError, match="Read-only") as caught:
        trust.touch(Path("data/a/b"))
    assert caught.value.filename == "data/a/b"


@pytest.mark.usefixtures("here")
def test_a_full_disk_does_not_keep_it_from_going_on(monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    Path("data/a/b").touch()
    monkeypatch.setattr("stages.common.files.write_text", refuse)
    trust.Look().note()


def write_config(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A clone whose configurations, the system's and the user's among them, are in folders of its own."""
    monkeypatch.chdir(tmp_path)
    write_config(Path(".dvc/config"), "[core]\n    analytics = false\n    # dir is the default\n")
    for level in ("SYSTEM", "GLOBAL"):
        monkeypatch.setenv(f"DVC_{level}_CONFIG_DIR", str(tmp_path / level))
    return tmp_path


@pytest.mark.parametrize("config", ["SYSTEM/config", "GLOBAL/config", ".dvc/config", ".dvc/config.local"])
def test_the_cache_is_where_any_configuration_says(configured, config):
    assert trust.cache() == trust.CACHE
    write_config(Path(config), f"['remote \"dir\"']\nurl = x\n[cache]\n    dir = {configured}/shared\n")
    assert trust.cache() == configured / "shared"
    write_config(Path(".dvc/config.local"), "[cache]\nDIR=../../theirs\n")
    assert trust.cache() == configured.parent / "theirs", "the last one counts; paths begin at the configuration"


def test_places_of_configurations_are_those_of_dvc(configured, monkeypatch):
    from dvc.config import Config

    for names in ((), ("DVC_SYSTEM_CONFIG_DIR", "DVC_GLOBAL_CONFIG_DIR")):
        for name in names:
            monkeypatch.delenv(name)
        files = Config(str(configured / ".dvc")).files
        assert [path.absolute() for path in trust.configurations()] == [
            Path(files[level]) for level in ("system", "global", "repo", "local")
        ]


@pytest.mark.usefixtures("configured")
def test_a_configuration_that_dvc_cannot_read_is_told():
    write_config(Path(".dvc/config.local"), "[cache\ndir = x\n")
    with pytest.raises(UserError, match=r"DVC's configuration: "):
        trust.cache()
