"""A finished run is kept, or refused in one line."""

import json
import sys

import pytest


@pytest.mark.slow
def test_a_run_is_kept_or_refused_in_one_line(rebuilt, tmp_path):
    taken, kept = tmp_path / "taken", tmp_path / "kept"
    taken.mkdir()
    refused = rebuilt.tool("archive_run", str(taken), "--took", "a while")
    assert refused.returncode == 2
    assert refused.stderr == f"error: {taken}: exists and is no kept run; name another folder\n"
    command = (sys.executable, "-m", "tools.archive_run", str(kept), "--took", "a while")
    done = rebuilt.run(*command, PATH="/usr/bin:/bin")  # as where the environment is not active
    assert done.returncode == 0, done.stderr
    assert json.loads((kept / "machine.json").read_text())["took"] == "a while"
    for path in ("params.yaml", "dvc.lock", "index.html", "metrics/claims.json"):
        assert (kept / path).is_file(), path
    found = {path.relative_to(kept / "tables").as_posix() for path in (kept / "tables").rglob("*.parquet")}
    assert {"dynamics.parquet", "model5/seed-0/weights.parquet", "model5/seed-1/losses.parquet"} <= found
    rebuilt.configure("figures.width=6.5")
    stale = rebuilt.run(*command)
    assert stale.returncode == 2
    assert stale.stderr.startswith("error: this run is not up to date: run make repro first")
    assert (kept / "machine.json").is_file(), "what was kept before stays"
