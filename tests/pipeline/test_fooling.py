"""`make verify` reports whatever is committed and does not reproduce, however it came about."""

from __future__ import annotations

import re

import pytest
from closure import ROOT
from conftest import Project
from ruamel.yaml import YAML
from test_pipeline import edit

from goldilocks.core import files

pytestmark = pytest.mark.slow
WORKFLOW = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
SWEPT = "reports/metrics/sweep.json"


def commit(project):
    project.git("add", "--all")
    project.commit("a change")


def change_number(project, path, name):
    """Change the fifth digit after the point of a number in a JSON file."""
    text = project.read(path)
    digit = re.compile(rf'("{name}": -?\d+\.\d{{4}})(\d)(\d*,?\n)')
    changed = digit.sub(lambda found: f"{found[1]}{(int(found[2]) + 1) % 10}{found[3]}", text, count=1)
    assert changed != text
    (project.folder / path).write_text(changed, "utf-8")


def recorded_hash(project, path):
    """The hash that `dvc.lock` records for a file, wherever it stands there."""
    (found,) = set(re.findall(rf"path: {path}\n +hash: md5\n +md5: (\w{{32}})", project.read("dvc.lock")))
    return found


def _rebuild_with_ablations(project: Project) -> None:
    """Train the ablations, and make what depends on them; commit it all."""
    for name in ("rates", "runs", "control", "dvc.lock"):
        files.remove(project.folder / "ablations" / name)
    done = project.tool("run", "--ablations")
    assert done.returncode == 0, done.stderr
    commit(project)


@pytest.fixture(scope="session")
def _honest(shared, smoke):
    return Project(shared("honest", lambda folder: _rebuild_with_ablations(smoke.copy(folder))))


@pytest.fixture
def honest(_honest, tmp_path):
    return _honest.copy(tmp_path / "project")


def verified(project, *options):
    """Whether verification finds nothing off, and what it printed."""
    done = project.tool("verify", *options)
    assert done.returncode in (0, 1), done.stderr
    assert ("NOT verified" in done.stdout) is (done.returncode == 1)
    return done.returncode == 0, done.stdout


def appended(path, text="# x\n"):
    return lambda project: project.append(path, text)


def replaced(path, old, new):
    return lambda project: edit(project, path, old, new)


def number_changed(path, name):
    return lambda project: change_number(project, path, name)


def hash_reversed(project):
    found = recorded_hash(project, "data/sweep.parquet")
    edit(project, "dvc.lock", found, found[::-1])


TOKENS = "path: data/tokens\n      hash: md5\n      md5: "
EDITS = [
    (lambda project: project.configure("softmax.trials=25"), "softmax: params.yaml: softmax"),
    (appended("stages/softmax.py"), "softmax: changed deps: stages/softmax.py modified"),
    (appended("requirements.lock"), "train@1: changed deps: requirements.lock modified"),
    (hash_reversed, ": made from another data/sweep.parquet than sweep made"),
    (replaced("dvc.yaml", "-m stages.formats", "-B -m stages.formats"), "formats: changed command since"),
    (number_changed(SWEPT, "value"), f"sweep: changed outs: {SWEPT} modified"),
    (replaced("reports/figures/sweep.svg", "</svg>", "<g/></svg>"), "figures: changed outs: reports/figures modified"),
    (lambda project: files.remove(project.folder / "reports/plots/sweep.csv"), ": reports/plots/sweep.csv deleted"),
    (replaced("reports/index.html", "reproduce", "confirm"), "report: changed outs: reports/index.html"),
    (appended("reports/paper/tables/sweep.parquet"), "sweep.parquet: damaged or edited, reports/paper/SHA256SUMS says"),
    (appended("ablations/runs/scaled/seed-0.parquet"), "outs: ablations/runs/scaled/seed-0.parquet modified"),
    (replaced("ablations/dvc.lock", TOKENS, f"{TOKENS}0"), ": made from another data/tokens than tokens made"),
    (appended("reports/metrics/more.json", "{}"), "reports/metrics/more.json: committed, and no stage makes it"),
]
"""Edits that are committed without a rebuild, and how each is reported."""


def test_edits_without_a_rebuild_are_reported_without_one(honest):
    fine, printed = verified(honest, "--static")
    assert fine, printed
    for change, _ in EDITS:
        change(honest)
    commit(honest)
    fine, printed = verified(honest, "--static")
    assert not fine
    assert [reported for _, reported in EDITS if reported not in printed] == []


def test_all_of_it_is_made_again_wherever_and_however_it_is_run(honest, tmp_path):
    """With a training of the ablations and the summary; in another folder, locale and time zone, with another umask."""
    moved = honest.copy(tmp_path / "another folder, ü")
    command = "umask 077; python -m tools.verify --markdown result.md"
    done = moved.run("sh", "-c", command, LC_ALL="C", LANG="C", PYTHONUTF8="0", TZ="CHADT-13:45", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = len(re.findall(r"^    outs:\n((?:    - path.*\n|      .*\n)+)", moved.read("dvc.lock"), re.MULTILINE))
    compared = int(re.search(r"all (\d+) outputs that were made again are the same bytes", done.stdout)[1])
    assert compared > outputs + 2
    assert "Running stage 'sweep':" in done.stderr
    assert re.search(r"^rebuilding of the ablations: (ablate|rate|control)@[\w.-]+$", done.stderr, re.MULTILINE)
    assert moved.read("result.md").startswith("### verified")
    assert moved.check("git", "status", "--porcelain").split() == ["??", "result.md"]


def rebuilt_and_committed(project):
    project.check("sh", "-c", "python -m tools.repair && python -m stages.check && dvc repro")
    commit(project)


def row(printed, output):
    """The cells of an output's row in the table of what differs, the output left out."""
    (found,) = re.findall(rf"^\| {re.escape(output)} +\|(.*)\|$", printed, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


def test_what_is_edited_with_its_hashes_and_every_cache_is_found_by_the_rebuild(honest):
    """Data, a metric, and a hash alone, wherever it stands.

    The committed configuration names a cache, whose cached runs say that the edited data are what is made.
    """
    honest.check("dvc", "config", "cache.dir", str(honest.folder / ".dvc/cache"))
    made, metrics = honest.folder / "data/matrices/experiment-1.safetensors", "reports/metrics/goldilocks.json"
    contents = made.read_bytes()
    made.unlink()  # a link to the cache
    made.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    change_number(honest, metrics, "high")
    honest.check("dvc", "commit", "--force", "matrices", "goldilocks")
    rebuilt_and_committed(honest)
    text, found = honest.read("dvc.lock"), recorded_hash(honest, "data/formats.parquet")
    assert text.count(found) > 1
    (honest.folder / "dvc.lock").write_text(text.replace(found, found[::-1]))
    commit(honest)
    assert verified(honest, "--static")[0], "hashes alone can't tell"
    fine, printed = verified(honest, "--stages", "matrices,goldilocks,formats")
    assert not fine
    assert "differences: 3 in " in printed
    assert row(printed, "data/matrices: experiment-1.safetensors")[0] == "matrices"
    assert row(printed, "data/formats.parquet")[:2] == ["formats", "another hash; the committed data is not here"]
    stage, name, rebuilt, committed, by = row(printed, metrics)
    assert (stage, name.rpartition(".")[2]) == ("goldilocks", "high")
    assert abs(float(rebuilt) - float(committed)) == pytest.approx(float(by), rel=0.01)
    assert float(by) == pytest.approx(1e-5, rel=0.01) or float(by) == pytest.approx(9e-5, rel=0.01)


def test_a_dependency_that_is_not_declared_is_found_by_the_rebuild(honest):
    before, sweep = honest.read("dvc.yaml").split("  sweep:\n")
    assert "      goldilocks/stats,\n" in sweep.partition("outs:")[0]
    undeclared = sweep.replace("      goldilocks/stats,\n", "", 1)
    (honest.folder / "dvc.yaml").write_text(f"{before}  sweep:\n{undeclared}", "utf-8")
    rebuilt_and_committed(honest)
    edit(honest, "goldilocks/stats/intervals.py", "CONFIDENCE = 0.95", "CONFIDENCE = 0.9")
    honest.check("dvc", "repro", "check", "sweep")
    commit(honest)
    fine, printed = verified(honest, "--stages", "sweep")
    assert not fine
    stage, name, rebuilt, committed, _ = row(printed, SWEPT)
    assert stage == "sweep"
    assert name.endswith(".high")
    assert float(rebuilt) < float(committed)
    assert row(printed, "data/sweep.parquet")[1].endswith("[0]"), "the committed table is read from the cache"


def scaled(project, factor):
    """Multiply a metric of the sweep, record it as the sweep's own, and commit that."""
    metrics = files.read_json(project.folder / SWEPT)
    metrics["monte_carlo"]["mean_ratio"] *= factor
    files.write_json(project.folder / SWEPT, metrics)
    project.check("dvc", "commit", "--force", "sweep")
    rebuilt_and_committed(project)


def test_only_where_bytes_are_not_promised_metrics_are_compared_by_rules(honest):
    honest.configure("run.arithmetic=native")
    scaled(honest, 1 + 3e-6)
    fine, printed = verified(honest, "--stages", "sweep,claims")
    assert fine, printed
    assert "the weaker check, as the same bytes are not promised:\n* run.arithmetic is native\n" in printed
    assert re.search(r"verified: commit \w+: the \d+ metrics that were made again fit, by the weaker check", printed)
    scaled(honest, 1 + 1e-3)
    fine, printed = verified(honest, "--stages", "sweep")
    assert not fine
    assert row(printed, SWEPT)[1] == "monte_carlo.mean_ratio"


def test_a_changed_parameter_fails_until_its_outputs_are_rebuilt_and_the_comment_shows_what_differs(honest):
    """A pull request that edits params.yaml."""
    base = honest.check("git", "rev-parse", "HEAD").strip()
    honest.configure("sweep.trials=25")
    commit(honest)
    assert not verified(honest, "--static")[0]
    rebuilt_and_committed(honest)
    fine, printed = verified(honest, "--stages", "sweep", "--markdown", "result.md")
    assert fine, printed
    (step,) = [step for step in WORKFLOW["jobs"]["verify"]["steps"] if "BASE" in step.get("env", {})]
    honest.check("bash", "-ec", step["run"], BASE=base, GITHUB_STEP_SUMMARY=str(honest.folder / "summary.md"))
    comment = honest.read("comment.md")
    assert comment.startswith("### verified")
    assert re.search(r"\| params.yaml +\| sweep.trials +\| 20 +\| 25 +\|", comment)
    assert re.search(rf"\| {SWEPT} +\| monte_carlo.slope.value +\|", comment)
    assert honest.read("summary.md") == comment


UNABLE = {
    "no commit": (lambda project: files.remove(project.folder / ".git"), "could not verify: git status"),
    "a stage that fails": (appended("stages/matrices.py", "raise SystemExit(3)\n"), "matrices failed: "),
}


@pytest.mark.parametrize(("change", "said"), UNABLE.values(), ids=UNABLE)
def test_what_can_not_be_verified_ends_with_another_code(honest, change, said):
    change(honest)
    if (honest.folder / ".git").exists():
        commit(honest)
    done = honest.tool("verify", "--stages", "matrices")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
