"""dvc.yaml says what is true: dependencies, parameters, what an edit re-runs, and that a rebuild repeats."""

from __future__ import annotations

import importlib
import json
import shutil
import tomllib
from pathlib import Path

import pytest
from closure import PACKAGES, ROOT, closure
from ruamel.yaml import YAML
from safetensors.numpy import save_file
from test_inputs import TEXT, gpt2_tensors, local_source

from stages import claims

PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))
STAGES = PIPELINE["stages"]
ABLATIONS = YAML(typ="safe").load((ROOT / "ablations" / "dvc.yaml").read_text("utf-8"))["stages"]
MODEL5 = {"train@0", "train@1"}
TEXTS = {"tokens", "second_text"}
SHOWN = {"figures", "report"}
CLAIMED = {"claims"} | SHOWN
AFTER_TRAIN = {"layernorm", "dynamics", "logits"} | CLAIMED


def code_deps(stage):
    """What of the project's code a stage declares to depend on: modules and packages."""
    return [path for path in STAGES[stage]["deps"] if path.startswith(PACKAGES)]


def sources(stage):
    """The modules among them, packages expanded."""
    found = [[ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*.py") for path in code_deps(stage)]
    return {path.relative_to(ROOT).as_posix() for paths in found for path in paths}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_deps_hold_the_import_closure_and_none_is_idle(stage):
    needed = closure(f"stages.{stage}")
    assert sources(stage) >= needed
    assert [path for path in code_deps(stage) if not any(Path(name).is_relative_to(path) for name in needed)] == []


def test_no_training_depends_on_figures_or_the_page_and_the_closure_follows_imports_inside_functions():
    trainings = [*ABLATIONS["code"]["deps"], *STAGES["train"]["deps"]]
    assert not [path for path in trainings if path.startswith(("goldilocks/page", "goldilocks/plotting", "tools"))]
    assert "goldilocks/model5/export.py" in closure("stages.train")
    assert "goldilocks/checkpoints/families.py" in closure("stages.inputs")
    assert "goldilocks/softmax/floats.py" in closure("stages.formats")
    assert "goldilocks/plotting/style.py" not in closure("stages.report")


def test_the_contracts_name_every_stage_that_does_not_train():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (contract,) = [contract for contract in rules["contracts"] if contract["id"] == "without-torch"]
    training = {"train", "ablate", "rate", "control", "code", "summarize_ablations"}  # the last two by importing `runs`
    asks_the_hardware = {"check"}
    assert {f"stages.{name}" for name in {*STAGES, *ABLATIONS} - training - asks_the_hardware} <= {
        *contract["source_modules"]
    }


OF_OTHERS = {
    "claims": ["run.root_seed", "train"],  # is the control one of these trainings?
    "logits": ["goldilocks.least_discrimination", "goldilocks.least_gradient"],  # is a head in the zone?
    "second_text": ["tokens"],  # it is split as the first one is
}
"""What stages see of the sections of others."""


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"check"}))
def test_declared_params_are_what_the_stage_sees(stage):
    module = importlib.import_module(f"stages.{stage}")
    own = [stage] if module.Settings.model_fields else []
    assert sorted(STAGES[stage].get("params", [])) == sorted(
        [*own, *(f"run.{name}" for name in module.Run.model_fields), *OF_OTHERS.get(stage, [])]
    )


def test_every_stage_says_what_it_is_for_waits_for_the_check_and_depends_on_the_versions():
    for name, stage in STAGES.items():
        assert len(stage["desc"]) > 30, name
        assert stage["cmd"].startswith(f"python -m stages.{name}")
        assert name == "check" or {"data/checked", "requirements.lock"} <= set(stage["deps"]), name


def edit(project, path, old, new):
    text = project.read(path)
    assert old in text, (path, old)
    (project.folder / path).write_text(text.replace(old, new, 1), "utf-8")


def param(*assignments):
    return lambda project: project.configure(*assignments)


def comment(path, text="\n# a comment\n"):
    return lambda project: project.append(path, text)


def own_checkpoint(project):
    save_file(gpt2_tensors(), project.folder / "mine.safetensors")
    project.configure("inputs.checkpoints=[mine.safetensors]")


def nothing_depends_on_it(project):
    for path in ("README.md", "tests/conftest.py", "tools/verification/compare.py"):
        project.append(path, "\n# a comment\n")


EVERYTHING = set(STAGES) - {"train"} | MODEL5
CHANGES = {
    "a comment in stages/softmax.py": (comment("stages/softmax.py"), {"softmax"}),
    "report.title": (param("report.title=Other"), {"check", "report"}),
    "claims.about, so that a verdict changes": (param("claims.about=1.0e-4"), {"check", "claims", "report"}),
    "layernorm.gamma_to": (param("layernorm.gamma_to=1.05"), {"check", "layernorm"} | CLAIMED),
    "a summary of ablations": (
        lambda project: edit(project, "reports/ablations/metrics.json", '"diverged": 0', '"diverged": 1'),
        {"claims", "report"},
    ),
    "matrices.rows": (param("matrices.rows=21"), {"check", "matrices", "sweep", "softmax"} | CLAIMED),
    "tokens.context_length": (param("tokens.context_length=12"), {"check"} | TEXTS | MODEL5 | AFTER_TRAIN),
    "train.learning_rate": (param("train.learning_rate=2.0e-3"), {"check"} | MODEL5 | AFTER_TRAIN),
    "inputs.timeout": (param("inputs.timeout=20.0"), {"check", "inputs", "report"}),
    "run.root_seed": (param("run.root_seed=7"), EVERYTHING - {"inputs"} - TEXTS),
    "a comment in families.py": (  # a package counts as a whole
        comment("goldilocks/checkpoints/families.py"), {"check", "inputs", "layernorm", "second_text"}
    ),
    "inputs.checkpoints": (own_checkpoint, {"check", "inputs", "layernorm"} | CLAIMED),
    "goldilocks/stats/intervals.py": (
        comment("goldilocks/stats/intervals.py"),
        {"sweep", "softmax", "goldilocks", "formats", "dynamics", "logits", "claims"},
    ),
    "goldilocks/model5/weight_stats.py": (comment("goldilocks/model5/weight_stats.py"), MODEL5),
    "the palette in goldilocks/plotting/palette.py": (
        lambda project: edit(project, "goldilocks/plotting/palette.py", "#0072B2", "#0072B3"), SHOWN
    ),
    "requirements.lock": (comment("requirements.lock"), EVERYTHING),
    "what nothing depends on": (nothing_depends_on_it, set()),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("change", "expected"), [pytest.param(*each, id=name) for name, each in CHANGES.items()])
def test_an_edit_reruns_exactly_what_it_should(rebuilt, change, expected):
    change(rebuilt)
    assert rebuilt.repro() == expected
    assert rebuilt.run("dvc", "status", "-q").returncode == 0, "a second rebuild has nothing to do"


@pytest.mark.slow
def test_a_seed_that_comes_and_goes_leaves_no_trace(rebuilt):
    def state():
        found = [p.relative_to(rebuilt.folder) for p in rebuilt.folder.glob("[dr]*/**/*") if p.is_file()]
        return rebuilt.read("dvc.lock"), sorted(str(p) for p in found if p.suffix != ".lock")

    rebuilt.stage("check")  # removes the checkpoints of what is recorded
    before = state()
    rebuilt.configure("run.seeds=[0,1,9]")
    assert rebuilt.repro() == {"check", "train@9", "dynamics", "logits"} | CLAIMED
    assert "train@9" in rebuilt.read("dvc.lock")
    rebuilt.configure("run.seeds=[0,1]")
    assert not {name for name in rebuilt.repro() if name.startswith("train")}
    assert state() == before
    rebuilt.configure("run.seeds=[0]")
    assert "train@0" not in rebuilt.repro()
    rebuilt.configure("run.seeds=[0,1]")
    assert not {name for name in rebuilt.repro() if name.startswith("train")}, "it comes back from the cache"


@pytest.mark.slow
def test_an_edited_corpus_is_noticed(rebuilt, tmp_path):
    source = local_source(tmp_path / "source", TEXT * 3)
    rebuilt.configure(f"inputs.source={source}")
    assert rebuilt.repro() == {"check", "inputs"} | TEXTS | MODEL5 | AFTER_TRAIN
    assert '"gpt2"' in rebuilt.read("reports/metrics/layernorm.json")
    with (source / "corpus.txt").open("a") as handle:
        handle.write("And they grew again.\n")
    assert rebuilt.repro() >= {"inputs", "tokens", "report"} | MODEL5
    shutil.rmtree(source)
    gone = rebuilt.stage("check")
    assert gone.returncode == 2
    assert "nor an existing directory" in gone.stderr


LOWEST = [
    "matrices.rows=2", "matrices.dimension=1", "matrices.first_dimension=1", "matrices.last_dimension=2",
    "sweep.trials=2", "softmax.trials=2", "goldilocks.widest=4", "goldilocks.exponents=3", "goldilocks.lengths=[3]",
    "goldilocks.correlations=[0.0]", "goldilocks.trials=2", "formats.widest=2", "formats.rows=1", "formats.keys=2",
    "tokens.context_length=2", "inputs.vocabulary=257", "train.width=2", "train.heads=1", "train.blocks=1",
    "train.batch_size=1", "train.steps=1", "train.evaluation_windows=1", "train.inference_windows=1",
    "train.probe_windows=1", "train.histogram_edges=2", "train.sample_tokens=1", "run.seeds=[0]",
]  # fmt: skip


@pytest.mark.slow
def test_with_everything_at_its_lower_limit_it_runs_through_to_the_report(rebuilt):
    rebuilt.configure(*LOWEST)
    assert "report" in rebuilt.repro()
    assert "W5" in rebuilt.read("reports/index.html")
    found = json.loads(rebuilt.read("reports/metrics/claims.json"))
    assert found["W5"]["verdict"] == found["W8"]["verdict"] == "not measured here"


def test_the_headlines_are_the_one_metric_and_of_what_was_not_measured_there_is_none(smoke):
    (path,) = [next(iter(entry)) for stage in STAGES.values() for entry in stage.get("metrics", [])]
    found = json.loads(smoke.read(path))
    assert set(found) == set(claims.HEADLINES)
    assert all(name.isascii() for name in found)
    claimed = json.loads(smoke.read("reports/metrics/claims.json"))
    assert found["claims that reproduce"] == claimed["count"]["reproduced"]
    growth = json.loads(smoke.read("reports/metrics/dynamics.json"))["growth_of_std"]["value"]
    assert found["widening of QKV in %"] == pytest.approx(100 * growth, rel=1e-5)
    known = claims.MetricTree({"claims": {"count": {"reproduced": 3}}, "dynamics": {"last_snapshot": 0}}, {})
    assert claims.headlines(known) == {"claims that reproduce": 3}


@pytest.mark.slow
def test_dvc_shows_headlines_and_plots_that_are_complete_specifications(smoke):
    table = smoke.check("dvc", "metrics", "show")
    assert all(name in table for name in claims.HEADLINES)
    assert max(len(line) for line in table.splitlines()) <= 200
    shown = json.loads(smoke.check("dvc", "plots", "show", "--json", "-o", "plots"))
    assert not shown.get("errors")
    found = {title: of["content"] for title, (of, *_) in shown["data"].items() if of["type"] == "vega"}
    assert list(found) == [next(iter(plot)) for plot in PIPELINE["plots"]]
    for (title, spec), plot in zip(found.items(), PIPELINE["plots"], strict=True):
        assert "<DVC" not in json.dumps(spec)
        assert spec["title"]["text"] == title
        scale = "log" if "softmax" in title else None
        for axis in ("x", "y"):
            encoding = spec["encoding"][axis]
            assert encoding["title"] == plot[title][f"{axis}_label"]
            assert encoding["scale"].get("type") == scale
            assert all(float(row[encoding["field"]]) >= 0 for row in spec["data"]["values"])
    series = {title: {row.get("field") or row.get("filename") for row in spec["data"]["values"]}
              for title, spec in found.items()}  # fmt: skip
    assert series["σ(QKᵀ) grows as √n"] == {"sigma", "mean", "theory"}
    assert series["loss of Model 5, mean over seeds"] == {"train_loss.csv", "test_loss.csv"}
    assert {row["block"] for row in found["QKV weights widen, by block"]["data"]["values"]} == {"0", "1"}
