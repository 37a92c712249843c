import json

from closure import ROOT, closure
from ruamel.yaml import YAML

from goldilocks.ablations import runs
from goldilocks.ablations.condition import FOLDER, Condition
from goldilocks.ablations.conditions import CONDITIONS
from goldilocks.core import files
from stages import code
from tools import run

STAGES, MAIN = (
    YAML(typ="safe").load((ROOT / path).read_text("utf-8"))["stages"] for path in ("ablations/dvc.yaml", "dvc.yaml")
)


def test_the_code_is_noted_once_for_all_trainings_and_conditions_each_in_a_file(committed):
    needed = set.union(*(closure(f"stages.{stage}") for stage in ("ablate", "rate", "control")))
    assert set(STAGES["code"]["deps"]) == needed | {str(code.OF_CONDITIONS), "requirements.lock"}
    assert str(code.OF_CONDITIONS) not in needed, "so that no run depends on a row that is not its own"
    assert STAGES["code"]["outs"] == [{str(path): {"cache": False}} for path in (runs.CODE, FOLDER)]
    noted = files.read_json(committed / runs.CODE)
    assert needed | {"requirements.lock"} <= noted.keys() and str(code.OF_CONDITIONS) not in noted
    assert noted == {path: files.sha256(committed / path) for path in noted}, "the committed code"


def test_the_summary_declares_what_it_depends_on():
    deps = set(STAGES["summarize_ablations"]["deps"])
    assert deps == closure("stages.summarize_ablations") | {str(runs.RUNS), str(runs.CONTROL), "requirements.lock"}


def test_make_ablations_first_makes_all_data_that_trainings_need():
    def made_from(name):
        return paths(MAIN[name]).union(*(made_from(each) for each in before[name]))

    def paths(stage):
        return {out if isinstance(out, str) else next(iter(out)) for out in stage.get("outs", [])}

    before = {name: [other for other in MAIN if paths(MAIN[other]) & set(of["deps"])] for name, of in MAIN.items()}
    made = set().union(*(made_from(name) for name in run.TEXTS))
    assert {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith("data/")} <= made


def test_every_training_depends_on_the_code_the_data_and_its_own_condition():
    condition, rates = "ablations/conditions/${item.condition}.json", f"{runs.RATES}/${{item.condition}}"
    expected = {
        "rate": {condition, "data/second_text", "ablate", "run.root_seed"},
        "ablate": {condition, rates, "data/second_text", "ablate", "run.root_seed"},
        "control": {"train", "run.root_seed"},
    }
    for name, own in expected.items():
        found = {*STAGES[name]["deps"], *STAGES[name]["params"]}
        assert found == own | {str(runs.CODE), "data/checked", "data/tokens"}


def test_a_row_more_changes_no_other_condition_and_not_the_code(committed, tmp_path, monkeypatch):
    """What runs depend on, before and after."""
    noted = {}
    for more in ({}, {"another": Condition("another one", {"tied": False})}):
        monkeypatch.chdir(committed)
        monkeypatch.setattr(code.conditions, "CONDITIONS", CONDITIONS | more)
        monkeypatch.setattr(code.runs, "CODE", tmp_path / "code.json")
        monkeypatch.setattr("goldilocks.ablations.condition.FOLDER", tmp_path / "conditions")
        monkeypatch.setattr("sys.argv", ["code"])
        code.main()
        assert str(code.OF_CONDITIONS) not in json.loads(runs.CODE.read_bytes())
        noted = noted or {path.name: path.read_bytes() for path in tmp_path.rglob("*.json")}
    after = {path.name: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert after.keys() - noted.keys() == {"another.json"}
    assert {name: after[name] for name in noted} == noted
    assert json.loads(after["another.json"]) == {"label": "another one", "variant": {"tied": False}}
