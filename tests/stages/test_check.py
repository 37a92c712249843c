"""What `make repro` refuses, and what it puts right, before anything is computed."""

from __future__ import annotations

import os

from stages import check


def test_a_rebuild_is_not_made_from_damaged_results(project):
    metrics = project.folder / "reports" / "ablations" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("1", "2", 1))
    done = project.here("check")
    assert done.returncode == 2
    assert done.stderr.startswith("error: reports/ablations/metrics.json: damaged or edited, ")
    assert not (project.folder / "data" / "checked").exists()


def test_a_constant_is_put_right_and_left_alone_if_it_is(tmp_path):
    path = tmp_path / "checked"
    for before in (None, b"sounD\n", b"\xff", b"sound\n"):
        if before is not None:
            path.write_bytes(before)
            os.utime(path, ns=(0, 0))
        check.write_if_changed(path, "sound\n")
        assert path.read_bytes() == b"sound\n"
        assert (path.stat().st_mtime_ns == 0) == (before == b"sound\n")
