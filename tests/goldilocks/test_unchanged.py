"""A stage whose dependencies or parameters change while it runs refuses its own result, and DVC runs it again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import last_commit
import pytest
from closure import ROOT
from ruamel.yaml import YAML

from goldilocks.ablations import runs
from goldilocks.core import cli, dvc_files, files, unchanged

RUN = "    cli.run(main)\n"
RUN_AND_EDIT = """
    from pathlib import Path

    def main_and_edit() -> None:
        main()
        if not Path("edited").exists():
            Path("edited").touch()
            for path in {appended}:
                with Path(path).open("ab") as file:
                    file.write(b"\\n")
            text = Path("params.yaml").read_text("utf-8")
            Path("params.yaml").write_text(text.replace({old!r}, {new!r}), "utf-8")

    cli.run(main_and_edit)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("appended", "old", "new", "told"),
    [
        (["stages/sweep.py"], "", "", "stages/sweep.py"),
        ([], "trials: 20 ", "trials: 21 ", "params.yaml: sweep"),
        (["stages/softmax.py", "goldilocks/core/.files.py.swp", "params.yaml"], "steps: 21 ", "steps: 22 ", None),
    ],
    ids=["code", "parameters", "anything else"],
)
def test_an_edit_while_a_stage_runs_is_not_recorded_and_it_runs_again(project, appended, old, new, told):
    source = project.folder / "stages" / "sweep.py"
    edit = RUN_AND_EDIT.format(appended=appended, old=old, new=new)
    source.write_text(source.read_text("utf-8").replace(RUN, edit), "utf-8")
    project.configure(preset="smoke")
    recorded = dvc_files.blocks(project.read("dvc.lock"))["sweep"]
    done = project.run("dvc", "repro", "sweep")
    assert (project.folder / "edited").exists()
    if told:
        assert done.returncode != 0
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: {told}: changed while sweep ran")
        assert "Traceback" not in done.stderr
        assert dvc_files.blocks(project.read("dvc.lock"))["sweep"] == recorded
        assert "Running stage 'sweep'" in project.check("dvc", "repro", "sweep")
    else:
        assert done.returncode == 0, done.stderr
    assert project.run("dvc", "status", "-q", "sweep").returncode == 0


STAGES = {
    "made": {
        "params": ["made", "run.seeds"],
        "deps": ["params.yaml", "code.py", "${made.source}", "of/seed-${run.seeds[1]}"],
    },
    "of_matrix": {
        "matrix": {"condition": ["a", "a-b"], "seed": "${run.seeds}", "rate": [0.001]},
        "deps": ["of/${item.condition}", "of/seed-${item.seed}/weights", "of/${item.rate}"],
    },
    "unwatched": {"cmd": "true"},
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What the stage `made` of a small pipeline is made from."""
    monkeypatch.chdir(tmp_path)
    Path(".dvcignore").write_text("*.tmp\n__pycache__\n")
    for path in ("code.py", "mine/a", "mine/b/c", "of/seed-5/weights", "of/seed-7/weights"):
        files.write_text(Path(path), "x")
    write_params()
    YAML().dump({"stages": STAGES}, Path("dvc.yaml"))
    return unchanged.MadeFrom("made@0")


def write_params(seeds=(7, 5), source="mine", other=0):
    Path("params.yaml").write_text(json.dumps({"run": {"seeds": list(seeds)}, "made": {"source": source}, "b": other}))


def same_size_same_time(path):
    before = path.stat()
    files.write_text(path, "y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda: Path("code.py").write_text("longer"), ["code.py"]),
        (lambda: same_size_same_time(Path("mine/a")), ["mine/a"]),
        (lambda: Path("mine/new").touch(), ["mine/new"]),
        (lambda: Path("mine/b/c").unlink(), ["mine/b/c"]),
        (lambda: Path("of/seed-5/weights").write_text("xy"), ["of/seed-5/weights"]),
        (lambda: Path("of/seed-7/weights").write_text("xy"), []),
        (lambda: Path("mine/.a.tmp").touch(), []),
        (lambda: files.write_text(Path("mine/b/__pycache__/c.pyc"), ""), []),
        (lambda: write_params(seeds=(7, 5, 6)), ["params.yaml", "params.yaml: run.seeds"]),
        (lambda: write_params(other=10), ["params.yaml"]),
        (
            lambda: Path("params.yaml").write_text("run: {"),
            ["params.yaml", "params.yaml: made", "params.yaml: run.seeds"],
        ),
    ],
)
def test_what_changed_is_told_and_the_result_refused(made, monkeypatch, capsys, edit, expected):
    monkeypatch.setenv("DVC_STAGE", "made@0")
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    if expected:
        with pytest.raises(SystemExit, match="2"):
            cli.run(edit)
        more = f" and {len(expected) - 1} more" if len(expected) > 1 else ""
        assert capsys.readouterr().err.startswith(f"error: {expected[0]}{more}: changed while made@0 ran, ")
    else:
        cli.run(edit)
    assert made.changed() == expected


@pytest.mark.usefixtures("made")
def test_only_the_process_that_dvc_started_looks_and_only_at_a_stage_that_is_declared(monkeypatch):
    assert unchanged.begun() is None
    monkeypatch.setenv("DVC_STAGE", "made")
    assert unchanged.begun().paths[-1] == "of/seed-5"
    monkeypatch.setenv("DVC_STAGE", "unwatched")
    assert unchanged.begun().changed() == []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert unchanged.begun() is None


@pytest.mark.usefixtures("made")
def test_an_instance_of_a_matrix_watches_its_own_dependencies():
    found = unchanged.MadeFrom("ablations/dvc.yaml:of_matrix@a-b-5-0.001")
    assert found.paths == ["of/a-b", "of/seed-5/weights", "of/0.001"]
    Path("of/seed-7/weights").write_text("xy")
    assert found.changed() == []
    Path("of/seed-5/weights").write_text("xy")
    assert found.changed() == ["of/seed-5/weights"]


@pytest.mark.parametrize("pipeline", ["dvc.yaml", "ablations/dvc.yaml"])
def test_the_dependencies_of_every_stage_are_found(monkeypatch, pipeline):
    monkeypatch.chdir(ROOT)
    recorded = dvc_files.blocks(last_commit.contents(pipeline.replace(".yaml", ".lock")).decode())
    for name, stage in YAML(typ="safe").load(Path(pipeline).read_text("utf-8"))["stages"].items():
        instance = next((each for each in recorded if each.split("@")[0] == name), name)
        found = unchanged.MadeFrom(f"{pipeline}:{instance}")
        assert (found.keys, len(found.paths)) == (stage.get("params", []), len(stage["deps"]))
        for path in found.paths:
            inside = [other for other in found.before if other == path or other.startswith(f"{path}/")]
            assert inside or path.startswith("data/"), path
            assert not {"None", "$"} & set(path.split("/")), path


CHANGED = """
import sys, stages
open(sys.argv[1], "a").write("# more")
sys.argv[1] = "0"
from stages import train
train.cli.run(train.main)
"""


@pytest.mark.slow
def test_a_training_whose_code_changed_while_it_was_loaded_leaves_no_checkpoint(rebuilt):
    path = "goldilocks/model5/export.py"
    done = rebuilt.run("python", "-c", CHANGED, path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2, f"error: {path}: changed while the training of seed 0 began; start it again",
    )  # fmt: skip
    assert list((rebuilt.folder / "data" / "checkpoints").glob("seed-0-*")) == []


def test_an_ablation_is_refused_if_its_code_is_not_the_noted_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unchanged, "_PROJECT", tmp_path)
    monkeypatch.setenv("DVC_STAGE", "ablations/dvc.yaml:ablate@scaled-0")
    module, versions = Path("goldilocks/module.py"), Path("requirements.lock")

    def loaded():
        monkeypatch.setattr(unchanged, "_LOADED", unchanged.marks(unchanged.CODE))

    for path in (module, versions):
        files.write_text(path, "as noted")
    loaded()
    files.write_json(runs.CODE, {path.as_posix(): files.sha256(path) for path in (module, versions)})
    runs.refuse_other_code()
    files.write_text(module, "as noted")
    with pytest.raises(cli.UserError, match=r"^goldilocks/module.py: changed since ablations/code.json was made"):
        runs.refuse_other_code()
    loaded()
    runs.refuse_other_code()
    files.write_text(versions, "other")
    with pytest.raises(cli.UserError, match=r"^requirements.lock: changed since"):
        runs.refuse_other_code()
    monkeypatch.delenv("DVC_STAGE")
    runs.refuse_other_code()  # a run that DVC does not know of may try what it likes
