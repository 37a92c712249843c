"""DVC sees every source in the folders that stages depend on, and nothing that an editor or a merge leaves there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from closure import ROOT

FOLDERS = ("stages", "goldilocks", "tools", "embedded", "hub", "reports")
LEFTOVERS = (
    "goldilocks/model5/train.py.orig", "goldilocks/model5/.#train.py", "goldilocks/model5/train.py~",
    "goldilocks/core/.files.py.swp", "goldilocks/core/__pycache__/files.py", "stages/notes.txt", "hub/notes/x",
    "goldilocks/checkpoints/.ipynb_checkpoints/http.py", "embedded/README.md.bak", "reports/figures/.DS_Store",
    "reports/ablations/metrics.json.orig",
)  # fmt: skip


def test_dvc_sees_every_file_that_git_knows_and_no_leftover(tmp_path):
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    tracked = {name for name in names if (ROOT / name).is_file()}
    assert {"goldilocks/page/explore.js", "goldilocks/model5/model.py", "embedded/README.md"} <= tracked
    shutil.copyfile(ROOT / ".dvcignore", tmp_path / ".dvcignore")
    for name in (*tracked, *LEFTOVERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ignores = DvcIgnoreFilter(localfs, str(tmp_path))
    walked = (ignores.walk(localfs, str(tmp_path / folder)) for folder in FOLDERS)
    seen = {Path(parent, name) for folder in walked for parent, _, names in folder for name in names}
    assert {path.relative_to(tmp_path).as_posix() for path in seen} == tracked
    patterns = (ROOT / "ablations" / ".dvcignore").read_text("utf-8").splitlines()[1:]
    assert (ROOT / ".dvcignore").read_text("utf-8").splitlines()[-len(patterns) :] == patterns, "the same anywhere"
