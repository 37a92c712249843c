"""Committed results that others are built on are as they were made, or a rebuild says which one is not."""

from __future__ import annotations

import shutil
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


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_reads_it(folder):
    command = ["sha256sum", "--check", "--strict", checksums.SUMS]
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


def test_what_is_damaged_missing_or_not_noted_is_told(folder):
    assert checksums.problems(folder) == []
    (folder / ".DS_Store").touch()
    assert checksums.problems(folder) == []
    (folder / "γ.svg").write_text("<svG/>")
    (folder / "metrics" / "a b.json").unlink()
    (folder / "new").touch()
    assert [problem.split(": ")[0] for problem in checksums.problems(folder)] == [
        str(folder / name) for name in ("metrics/a b.json", "new", "γ.svg")
    ]
    (line,) = (problem for problem in checksums.problems(folder) if "svg" in problem)
    assert line.endswith(f"SHA256SUMS says; `git checkout {folder}` brings back what is committed")


@pytest.mark.parametrize("contents", [b"", b"\xff\x00", None])
def test_a_seal_that_is_damaged_is_told(folder, contents):
    if contents is None:
        (folder / checksums.SUMS).unlink()
    else:
        (folder / checksums.SUMS).write_bytes(contents)
    assert checksums.problems(folder)
