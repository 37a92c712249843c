"""DVC sees every source in the folders that stages depend on, and nothing that an editor or a merge leaves there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from closure import ROOT
from dvc.fs import localfs
from dvc.ignore import DvcIgnoreFilter

FOLDERS = ("stages", "goldilocks", "tools", "embedded", "hub", "reports")
LEFTOVERS = (
    "goldilocks/model5/train.py.orig",
    "goldilocks/model5/.#train.py",
    "goldilocks/model5/train.py~",
    "goldilocks/core/.files.py.swp",
    "goldilocks/core/__pycache__/files.py",
    "goldilocks/checkpoints/.ipynb_checkpoints/http.py",
    "stages/notes.txt",
    "embedded/README.md.bak",
    "hub/notes/x",
    "reports/figures/.DS_Store",
    "reports/ablations/metrics.json.orig",
)


def seen(folder):
    """The files that DVC sees in the folders, relative to the project's."""
    ignores = DvcIgnoreFilter(localfs, str(folder))
    return {
        Path(parent, name).relative_to(folder).as_posix()
        for start in FOLDERS
        for parent, _, names in ignores.walk(localfs, str(folder / start))
        for name in names
    }


@pytest.fixture(scope="module")
def tracked():
    """What git knows in these folders, as it is in the work tree."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).is_file()}


def test_dvc_sees_every_file_that_git_knows_and_no_leftover(tmp_path, tracked):
    shutil.copyfile(ROOT / ".dvcignore", tmp_path / ".dvcignore")
    for name in (*tracked, *LEFTOVERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {"goldilocks/page/explore.js", "goldilocks/model5/model.py", "embedded/README.md"} <= tracked
    assert seen(tmp_path) == tracked
    patterns = (ROOT / "ablations" / ".dvcignore").read_text("utf-8").splitlines()[1:]
    assert (ROOT / ".dvcignore").read_text("utf-8").splitlines()[-len(patterns) :] == patterns, "the same anywhere"
