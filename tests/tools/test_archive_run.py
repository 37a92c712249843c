"""A finished run is kept, or refused in one line."""

import json
from pathlib import Path

import pytest


@pytest.mark.parametrize("place", ["new", "taken"])
def test_a_run_is_kept_or_refused_in_one_line(rebuilt, tmp_path, place):
    destination = tmp_path / place
    if place == "taken":
        destination.mkdir()
    done = rebuilt.tool("archive_run", str(destination), "--took", "a while")
    if place == "taken":
        assert done.returncode == 2
        assert done.stderr == f"error: {destination}: exists and is no kept run; name another folder\n"
        return
    assert done.returncode == 0, done.stderr
    assert json.loads((destination / "machine.json").read_text())["took"] == "a while"
    for path in ("params.yaml", "dvc.lock", "index.html", "metrics/claims.json", "metrics/train/seed-0.json"):
        assert (destination / path).is_file(), path
    tables = destination / "tables"
    found = {path.relative_to(tables).as_posix() for path in tables.rglob("*.parquet")}
    assert {"dynamics.parquet", "model5/seed-0/weights.parquet", "model5/seed-1/losses.parquet"} <= found
    rebuilt.configure("figures.width=6.5")
    stale = rebuilt.tool("archive_run", str(destination), "--took", "a while")
    assert stale.returncode == 2
    assert stale.stderr.startswith("error: this run is not up to date: run make repro first")
    assert Path(destination / "machine.json").is_file(), "what was kept before stays"
