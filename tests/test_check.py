"""What `make repro` refuses, and what it puts right, before anything is computed."""

from __future__ import annotations

import pytest

from stages import check
from stages.common import files


def test_a_rebuild_is_not_made_from_damaged_results(project):
    metrics = project.folder / "reports" / "ablations" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("1", "2", 1))
    done = project.stage("check")
    assert done.returncode == 2
    assert done.stderr.startswith("error: reports/ablations/metrics.json: damaged or edited, ")
    assert not (project.folder / "data" / "checked").exists()


@pytest.mark.parametrize("before", [None, b"", b"sounD\n", b"sound", b"\xff", b"sound\n"])
def test_a_constant_is_put_right_and_left_alone_if_it_is(tmp_path, before, monkeypatch):
    path = tmp_path / "checked"
    if before is not None:
        path.write_bytes(before)
    written = []
    monkeypatch.setattr(files, "write_text", lambda path, text: written.append((path, text)))
    check.let_hold(path, "sound\n")
    assert written == ([] if before == b"sound\n" else [(path, "sound\n")])
