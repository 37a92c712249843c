"""Whoever commits what does not reproduce is told so, however it came about."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from closure import ROOT
from conftest import Project
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow
WORKFLOW = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")


def commit(project):
    project.check("git", "add", "-A")
    project.check("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "a change")


def edit(project, path, old, new):
    text = project.read(path)
    assert old in text, (path, old)
    (project.folder / path).write_text(text.replace(old, new, 1), "utf-8")


def number_changed(project, path, name):
    """Another fifth digit after the point in a JSON file."""
    text = project.read(path)
    digit = re.compile(rf'("{name}": -?\d+\.\d{{4}})(\d)(\d*,?\n)')
    changed = digit.sub(lambda found: f"{found[1]}{(int(found[2]) + 1) % 10}{found[3]}", text, count=1)
    assert changed != text
    (project.folder / path).write_text(changed, "utf-8")


@pytest.fixture(scope="session")
def _honest(shared, smoke):
    """A small rebuild with its ablations, committed as a whole."""

    def fill(folder):
        project = smoke.copy(folder)
        shutil.rmtree(folder / "ablations/runs")
        (folder / "ablations/dvc.lock").unlink()
        project.check("sh", "-c", "dvc repro ablations/dvc.yaml && python -m stages.ablations && dvc repro")
        commit(project)

    return Project(shared("honest", fill))


@pytest.fixture
def honest(_honest, tmp_path):
    return _honest.copy(tmp_path / "project")


def verified(project, *options):
    """Whether verification finds nothing off, and what it printed."""
    done = project.run("python", "-m", "stages.verify", *options)
    assert done.returncode in (0, 1), done.stderr
    assert ("NOT verified" in done.stdout) is (done.returncode == 1)
    return done.returncode == 0, done.stdout


def from_another_run(project):
    """The metrics of another root seed; all else as it was."""
    project.configure("run.root_seed=7")
    project.check("dvc", "repro", "sweep")
    project.check("git", "checkout", "params.yaml", "dvc.lock", "reports/plots")


def lock_edited(project):
    text = project.read("dvc.lock")
    (found,) = set(re.findall(r"path: data/sweep.parquet\n +hash: md5\n +md5: (\w{32})", text))
    edit(project, "dvc.lock", found, found[::-1])


def appended(path, text="# x\n"):
    return lambda project: project.append(path, text)


def replaced(path, old, new):
    return lambda project: edit(project, path, old, new)


EDITS = {
    "a parameter": (lambda project: project.configure("sweep.trials=25"), "sweep: params.yaml: sweep is modified"),
    "a stage's code": (appended("stages/softmax.py"), "softmax: changed deps: stages/softmax.py modified"),
    "a shared module": (appended("stages/common/statistics.py"), "dynamics: changed deps: stages/common/statistics.py"),
    "requirements.lock": (appended("requirements.lock"), "train@1: changed deps: requirements.lock modified"),
    "dvc.lock": (lock_edited, "figures: was made from another data/sweep.parquet than sweep made"),
    "dvc.yaml": (replaced("dvc.yaml", "-m stages.formats", "-B -m stages.formats"), "formats: changed command since"),
    "a metric": (
        lambda project: number_changed(project, "reports/metrics/sweep.json", "value"),
        "sweep: changed outs: reports/metrics/sweep.json modified",
    ),
    "a figure": (
        replaced("reports/figures/sweep.svg", "</svg>", "<g/></svg>"),
        "figures: changed outs: reports/figures modified",
    ),
    "the page": (replaced("reports/index.html", "reproduce", "confirm"), "report: changed outs: reports/index.html"),
    "what describes a table": (
        replaced("reports/digests.json", '"md5": "', '"md5": "0'),
        "digests: changed outs: reports/digests.json modified",
    ),
    "a table of the kept run": (
        appended("reports/paper/tables/sweep.parquet"),
        "reports/paper/tables/sweep.parquet: damaged or edited, reports/paper/SHA256SUMS says",
    ),
    "a table of an ablation": (
        appended("ablations/runs/scaled/seed-0.parquet"),
        "ablate@scaled-0: changed outs: ablations/runs/scaled/seed-0.parquet modified",
    ),
    "a file that nothing makes": (
        appended("reports/metrics/more.json", "{}"),
        "reports/metrics/more.json: committed, and no stage makes it",
    ),
    "an output of another run": (from_another_run, "sweep: changed outs: reports/metrics/sweep.json modified"),
}


@pytest.mark.parametrize(("change", "told"), EDITS.values(), ids=EDITS)
def test_what_was_edited_without_a_rebuild_is_told_without_one(honest, change, told):
    change(honest)
    commit(honest)
    fine, printed = verified(honest, "--static")
    assert not fine
    assert told in printed


def test_what_is_honest_is_verified_and_leaves_nothing(honest):
    fine, printed = verified(honest, "--stages", "sweep,claims", "--markdown", "told.md", "--json", "told.json")
    assert fine, printed
    result = json.loads(honest.read("told.json"))
    assert {of["class"] for of in result["outputs"]} == {"identical"}
    assert {of["stage"] for of in result["outputs"]} == {"sweep", "claims"}
    assert result["influence"]["tried"] == 6, "trials, and the root seed twice, and three criteria"
    assert honest.read("told.md").startswith("### verified")
    assert "nothing differs" in honest.check("python", "-m", "stages.verify", "explain")
    assert honest.check("git", "status", "--porcelain").split() == ["??", "told.json", "??", "told.md"]


def test_all_of_it_is_made_again_with_one_of_the_ablations(honest):
    honest.check("python", "-m", "stages.verify", "--no-influence", "--exact", "--json", "told.json")
    result = json.loads(honest.read("told.json"))
    assert {of["class"] for of in result["outputs"]} == {"identical"}
    made = {of["output"] for of in result["outputs"]}
    assert {"reports/ablations", "reports/figures", "data/model5/seed-1", "data/inputs"} <= made
    assert len([output for output in made if output.startswith("ablations/runs/")]) == 1


def test_neither_folder_locale_time_zone_nor_umask_matter(honest, tmp_path):
    moved = honest.copy(tmp_path / "another folder, ü")
    command = "umask 077; python -m stages.verify --stages report,claims,digests --no-influence --json told.json"
    done = moved.run("sh", "-c", command, LC_ALL="C", LANG="C", PYTHONUTF8="0", TZ="CHADT-13:45", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(moved.read("told.json"))
    assert {of["class"] for of in result["outputs"]} == {"identical"}
    assert len(result["values"]) > 200


def rebuilt_and_committed(project):
    project.check("sh", "-c", "python -m stages.repair && python -m stages.check && dvc repro")
    commit(project)
    assert verified(project, "--static")[0], "hashes alone can't tell"


def test_a_metric_edited_with_its_hash_is_told_by_the_rebuild(honest):
    number_changed(honest, "reports/metrics/sweep.json", "mean_ratio")
    honest.check("dvc", "commit", "--force", "sweep")
    honest.check("dvc", "repro")
    commit(honest)
    fine, printed = verified(honest, "--stages", "sweep", "--no-influence")
    assert not fine
    assert re.search(r"reports/metrics/sweep.json: \S*mean_ratio +off", printed)
    explained = honest.check("python", "-m", "stages.verify", "explain")
    assert "the first stage that differs is sweep: reports/metrics/sweep.json, monte_carlo.mean_ratio: " in explained
    assert re.search(r", by [19]e-05 ", explained)


def test_a_dependency_that_is_not_declared_is_told_by_the_rebuild(honest):
    start = honest.read("dvc.yaml").index("  sweep:")
    text = honest.read("dvc.yaml")
    (honest.folder / "dvc.yaml").write_text(
        text[:start] + text[start:].replace("      - stages/common/statistics.py\n", "", 1), "utf-8"
    )
    rebuilt_and_committed(honest)
    edit(honest, "stages/common/statistics.py", "0.95", "0.9")
    honest.check("dvc", "repro", "check", "sweep")
    commit(honest)
    fine, printed = verified(honest, "--stages", "sweep", "--no-influence")
    assert not fine
    assert re.search(r"reports/metrics/sweep.json: \S*high +off", printed)


IGNORED = {
    "a parameter": (
        replaced("stages/softmax.py", "settings.samples", "1000"),
        "softmax: softmax.samples = 1100 instead of 1000: no result differs; the stage ignores it",
    ),
    "a seed": (
        replaced("stages/model5/session.py", '"initialisation", seed)', '"initialisation", 0)'),
        "train@1: made the same initialisation.parquet as train@0; it ignores its seed or condition",
    ),
}


@pytest.mark.parametrize(("change", "told"), IGNORED.values(), ids=IGNORED)
def test_what_a_stage_ignores_is_told(honest, change, told):
    change(honest)
    rebuilt_and_committed(honest)
    fine, printed = verified(honest, "--stages", told.partition(":")[0].partition("@")[0])
    assert not fine
    assert told in printed


def test_an_emptied_file_of_tolerances_allows_nothing(honest):
    (honest.folder / "tolerances.yaml").write_text("{}\n")
    commit(honest)
    fine, printed = verified(honest, "--stages", "sweep", "--no-influence")
    assert not fine
    assert "tolerances.yaml: no line for it: give it a tolerance, and the reason" in printed


def test_a_changed_parameter_fails_until_its_outputs_are_rebuilt(honest):
    """A pull request that edits params.yaml."""
    honest.check("git", "switch", "-qc", "proposal")
    honest.configure("sweep.trials=25")
    commit(honest)
    assert not verified(honest, "--static")[0]
    rebuilt_and_committed(honest)
    fine, printed = verified(honest, "--stages", "sweep", "--no-influence", "--markdown", "told.md")
    assert fine, printed
    (tell,) = [step for step in WORKFLOW["jobs"]["verify"]["steps"] if step.get("name") == "What else there is to tell"]
    base = honest.check("git", "rev-parse", "HEAD~2").strip()
    honest.check("bash", "-ec", tell["run"], BASE=base, GITHUB_STEP_SUMMARY=str(honest.folder / "summary.md"))
    comment = honest.read("comment.md")
    assert comment.startswith("### verified")
    assert re.search(r"\| params.yaml +\| sweep.trials +\| 20 +\| 25 +\|", comment)
    assert re.search(r"\| reports/metrics/sweep.json +\| monte_carlo.slope.value +\|", comment)
    assert honest.read("summary.md") == comment
