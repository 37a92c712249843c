"""Committed results that others are built on are as they were made, or a rebuild says which one is not."""

from __future__ import annotations

import subprocess

import pytest

from goldilocks.core import checksums
from stages import check


@pytest.fixture
def folder(tmp_path):
    """A sealed folder."""
    path = tmp_path / "kept"
    (path / "metrics").mkdir(parents=True)
    (path / "metrics" / "a b.json").write_text("{}")
    (path / "γ.svg").write_text("<svg/>")
    checksums.seal(path)
    return path


@pytest.mark.parametrize("name", check.BUILT_ON, ids=str)
def test_what_is_committed_is_as_it_was_made(committed, name):
    assert checksums.problems(committed / name) == []


def test_what_is_damaged_missing_or_not_noted_is_told_and_sha256sum_tells_it_too(folder):
    command = ["sha256sum", "--check", "--strict", checksums.SUMS]
    assert checksums.problems(folder) == []
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
    (folder / ".DS_Store").touch()
    assert checksums.problems(folder) == []
    (folder / "γ.svg").write_text("<svG/>")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1
    (folder / "metrics" / "a b.json").unlink()
    (folder / "new").touch()
    found = checksums.problems(folder)
    assert [problem.split(": ")[0] for problem in found] == [
        str(folder / name) for name in ("metrics/a b.json", "new", "γ.svg")
    ]
    assert found[-1].endswith(f"SHA256SUMS says; `git checkout {folder}` brings back what is committed")


def test_a_seal_that_is_damaged_or_gone_is_told(folder):
    for contents in (b"", b"\xff\x00"):
        (folder / checksums.SUMS).write_bytes(contents)
        assert checksums.problems(folder)
    (folder / checksums.SUMS).unlink()
    assert checksums.problems(folder)
