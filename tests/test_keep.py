"""A finished run is kept without a trace of where its inputs lay."""

import json
from io import StringIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_inputs import local_source

from stages import keep


def test_an_input_directory_is_named_by_its_content(tmp_path):
    for name, sha in (("a", "1"), ("b", "1"), ("c", "2")):
        entries = [{"input": "x", "sha256": sha, "origin": name}, {"input": "y", "sha256": "3"}]
        (tmp_path / name).write_text(json.dumps({"inputs": entries}))
    a, b, c = (keep.named_by_content(tmp_path / name) for name in "abc")
    assert a == b != c
    assert a.startswith("sha256:")


@pytest.mark.parametrize("path", ["in", "../in", "/data/in"])
def test_only_values_are_renamed(path):
    template = 'source: X # a word in it\n- path: X/corpus.txt\n{"origin": "X"}\n<td>X</td>inputs/X, X or\nX/gpt2'
    kept = "inputs/X, X or"
    before, after = (template.replace(kept, "KEPT").replace("X", each) for each in (path, "NAME"))
    kept = kept.replace("X", path)
    assert keep.renamed(before.replace("KEPT", kept), path, "NAME") == after.replace("KEPT", kept)


def test_a_path_so_long_that_yaml_breaks_it_is_renamed():
    path = f"/{'long ' * 20}/in"
    written = StringIO()
    YAML().dump({"deps": [{"path": path}, {"path": f"{path}/corpus.txt"}], "size": 3}, written)
    assert path not in written.getvalue(), "it is broken"
    assert YAML().load(keep.renamed(written.getvalue(), path, "NAME")) == {
        "deps": [{"path": "NAME"}, {"path": "NAME/corpus.txt"}],
        "size": 3,
    }


@pytest.mark.parametrize("place", ["new", "taken"])
def test_a_run_is_kept_or_refused_in_one_line(rebuilt, tmp_path, place):
    destination = tmp_path / place
    if place == "taken":
        destination.mkdir()
    done = rebuilt.stage("keep", str(destination), "--took", "a while")
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
    stale = rebuilt.stage("keep", str(destination), "--took", "a while")
    assert stale.returncode == 2
    assert stale.stderr.startswith("error: this run is not up to date: run make repro first")
    assert Path(destination / "machine.json").is_file(), "what was kept before stays"


def test_a_directory_of_inputs_leaves_its_hash_not_its_path(rebuilt, tmp_path, monkeypatch):
    secret = local_source(tmp_path / "my folder")
    rebuilt.configure(f"inputs.source={secret}")
    lock = rebuilt.folder / "dvc.lock"
    lock.write_text(lock.read_text().replace("embedded", str(secret)))
    monkeypatch.chdir(rebuilt.folder)
    keep.keep(tmp_path / "kept", "a while")
    name = keep.named_by_content(keep.PROVENANCE)
    assert f"source: {name}" in (tmp_path / "kept" / "params.yaml").read_text()
    for path in (tmp_path / "kept").rglob("*"):
        assert path.suffix == ".parquet" or path.is_dir() or b"my folder" not in path.read_bytes(), path
