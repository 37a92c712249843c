"""Whoever commits what does not reproduce is told so, however it came about."""

from __future__ import annotations

import functools
import re

import pytest
from closure import ROOT
from conftest import Project
from ruamel.yaml import YAML

from goldilocks.core import files

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
        for name in ("rates", "runs", "control"):
            files.remove(folder / "ablations" / name)
        (folder / "ablations/dvc.lock").unlink()
        project.check("sh", "-c", "dvc repro ablations/dvc.yaml && python -m stages.summarize_ablations && dvc repro")
        commit(project)

    return Project(shared("honest", fill))


@pytest.fixture
def honest(_honest, tmp_path):
    return _honest.copy(tmp_path / "project")


def verified(project, *options):
    """Whether verification finds nothing off, and what it printed."""
    done = project.run("python", "-m", "tools.verify", *options)
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
    "a shared module": (
        appended("goldilocks/stats/intervals.py"),
        "dynamics: changed deps: goldilocks/stats/intervals.py",
    ),
    "requirements.lock": (appended("requirements.lock"), "train@1: changed deps: requirements.lock modified"),
    "dvc.lock": (lock_edited, ": made from another data/sweep.parquet than sweep made"),
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
    "a table of the kept run": (
        appended("reports/paper/tables/sweep.parquet"),
        "reports/paper/tables/sweep.parquet: damaged or edited, reports/paper/SHA256SUMS says",
    ),
    "a table of an ablation": (
        appended("ablations/runs/scaled/seed-0.parquet"),
        "ablate@scaled-0: changed outs: ablations/runs/scaled/seed-0.parquet modified",
    ),
    "the rate that a condition is trained with": (
        lambda project: number_changed(project, "ablations/rates/scaled/0.001.json", "loss"),
        "rate@scaled-0.001: changed outs: ablations/rates/scaled/0.001.json modified",
    ),
    "a control": (
        appended("ablations/control/seed-1.parquet"),
        "control@1: changed outs: ablations/control/seed-1.parquet modified",
    ),
    "a hash in the ablations' dvc.lock": (
        replaced(
            "ablations/dvc.lock",
            "path: data/tokens\n      hash: md5\n      md5: ",
            "path: data/tokens\n      hash: md5\n      md5: 0",
        ),
        ": made from another data/tokens than tokens made",
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
    fine, printed = verified(honest, "--stages", "sweep,claims", "--markdown", "told.md")
    assert fine, printed
    count = honest.read("dvc.lock").count("\n      size:")
    compared = int(re.search(r"all (\d+) outputs that were made again are the same bytes", printed)[1])
    assert 20 < compared < count, "what sweep and claims need, and no figures"
    assert honest.read("told.md").startswith("### verified")
    assert honest.check("git", "status", "--porcelain").split() == ["??", "told.md"]


def test_all_of_it_is_made_again_wherever_and_however_it_is_run(honest, tmp_path):
    """With a training of the ablations and the summary; in another folder, locale and time zone, with another umask."""
    moved = honest.copy(tmp_path / "another folder, ü")
    command = "umask 077; python -m tools.verify"
    done = moved.run("sh", "-c", command, LC_ALL="C", LANG="C", PYTHONUTF8="0", TZ="CHADT-13:45", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = len(re.findall(r"^    outs:\n((?:    - path.*\n|      .*\n)+)", moved.read("dvc.lock"), re.MULTILINE))
    compared = int(re.search(r"all (\d+) outputs that were made again are the same bytes", done.stdout)[1])
    assert compared > outputs + 2
    assert "Running stage 'sweep':" in done.stderr
    assert re.search(r"^rebuilding of the ablations: (ablate|rate|control)@[\w.-]+$", done.stderr, re.MULTILINE)


def rebuilt_and_committed(project):
    project.check("sh", "-c", "python -m tools.repair && python -m stages.check && dvc repro")
    commit(project)
    fine, printed = verified(project, "--static")
    assert fine, f"hashes alone can't tell: {printed}"


def row(printed, output):
    """The cells of an output's row in the table of what differs, the output left out."""
    (found,) = re.findall(rf"^\| {re.escape(output)} +\|(.*)\|$", printed, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


def test_a_metric_edited_with_its_hash_is_told_by_the_rebuild(honest):
    number_changed(honest, "reports/metrics/sweep.json", "mean_ratio")
    honest.check("dvc", "commit", "--force", "sweep")
    honest.check("dvc", "repro")
    commit(honest)
    fine, printed = verified(honest, "--stages", "sweep")
    assert not fine
    stage, name, rebuilt, committed, by = row(printed, "reports/metrics/sweep.json")
    assert (stage, name) == ("sweep", "monte_carlo.mean_ratio")
    assert abs(float(rebuilt) - float(committed)) == pytest.approx(float(by), rel=0.01)
    assert float(by) == pytest.approx(1e-5, rel=0.01) or float(by) == pytest.approx(9e-5, rel=0.01)


def test_a_hash_edited_wherever_it_stands_is_told_by_the_rebuild(honest):
    text = honest.read("dvc.lock")
    (found,) = set(re.findall(r"path: data/sweep.parquet\n +hash: md5\n +md5: (\w{32})", text))
    assert text.count(found) > 1
    (honest.folder / "dvc.lock").write_text(text.replace(found, found[::-1]))
    commit(honest)
    assert verified(honest, "--static")[0], "hashes alone can't tell"
    fine, printed = verified(honest, "--stages", "sweep")
    assert not fine
    assert row(printed, "data/sweep.parquet")[:2] == ["sweep", "another hash; the committed data is not here"]
    assert "1 difference in " in printed


def test_data_edited_with_its_hashes_and_every_cache_is_told_by_the_rebuild(honest):
    """The committed configuration names a cache, whose cached runs say that the edited data are what is made."""
    honest.check("dvc", "config", "cache.dir", str(honest.folder / ".dvc/cache"))
    made = honest.folder / "data/matrices/experiment-1.safetensors"
    contents = made.read_bytes()
    made.unlink()  # a link to the cache
    made.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    honest.check("dvc", "commit", "--force", "matrices")
    rebuilt_and_committed(honest)
    fine, printed = verified(honest, "--stages", "matrices")
    assert not fine
    assert row(printed, "data/matrices: experiment-1.safetensors")[0] == "matrices"
    assert "1 difference in " in printed


def test_a_dependency_that_is_not_declared_is_told_by_the_rebuild(honest):
    start = honest.read("dvc.yaml").index("  sweep:")
    text = honest.read("dvc.yaml")
    (honest.folder / "dvc.yaml").write_text(
        text[:start] + text[start:].replace("      - goldilocks/stats/intervals.py\n", "", 1), "utf-8"
    )
    rebuilt_and_committed(honest)
    edit(honest, "goldilocks/stats/intervals.py", "0.95", "0.9")
    honest.check("dvc", "repro", "check", "sweep")
    commit(honest)
    fine, printed = verified(honest, "--stages", "sweep")
    assert not fine
    stage, name, rebuilt, committed, _ = row(printed, "reports/metrics/sweep.json")
    assert stage == "sweep"
    assert name.endswith(".high")
    assert float(rebuilt) < float(committed)
    assert row(printed, "data/sweep.parquet")[1].endswith("[0]"), "the committed table is read from the cache"


def edited_metrics(project, stage, **changes):
    """Change metrics of a stage, record them as its own, and commit that."""
    path = project.folder / f"reports/metrics/{stage}.json"
    metrics = files.read_json(path)
    for name, change in changes.items():
        *keys, last = name.split("__")
        holder = functools.reduce(lambda of, key: of[key], keys, metrics)
        holder[last] = change(holder[last])
    files.write_json(path, metrics)
    project.check("dvc", "commit", "--force", stage)
    rebuilt_and_committed(project)


def test_only_where_bytes_are_not_promised_are_metrics_compared_by_rules_and_that_is_said(honest):
    edited_metrics(honest, "sweep", monte_carlo__mean_ratio=lambda value: value * (1 + 3e-6))
    fine, printed = verified(honest, "--stages", "sweep")
    assert not fine
    assert row(printed, "reports/metrics/sweep.json")[1] == "monte_carlo.mean_ratio"
    honest.configure("run.arithmetic=native")
    rebuilt_and_committed(honest)
    fine, printed = verified(honest, "--stages", "sweep,claims", "--markdown", "told.md")
    assert fine, printed
    for told in (printed, honest.read("told.md")):
        assert "the weaker check, as the same bytes are not promised:\n* run.arithmetic is native\n" in told
        assert re.search(r"verified: commit \w+: the \d+ metrics that were made again fit, by the weaker check", told)
    edited_metrics(honest, "sweep", monte_carlo__mean_ratio=lambda value: value * (1 + 1e-3))
    edited_metrics(honest, "claims", S1__verdict=lambda _: "undecided")
    fine, printed = verified(honest, "--stages", "sweep,claims")
    assert not fine
    assert row(printed, "reports/metrics/sweep.json")[1] == "monte_carlo.mean_ratio"
    assert row(printed, "reports/metrics/claims.json")[1:4] == ["S1.verdict", "reproduced", "undecided"]


def test_a_changed_parameter_fails_until_its_outputs_are_rebuilt(honest):
    """A pull request that edits params.yaml."""
    honest.check("git", "switch", "-qc", "proposal")
    honest.configure("sweep.trials=25")
    commit(honest)
    assert not verified(honest, "--static")[0]
    rebuilt_and_committed(honest)
    fine, printed = verified(honest, "--stages", "sweep", "--markdown", "told.md")
    assert fine, printed
    (tell,) = [step for step in WORKFLOW["jobs"]["verify"]["steps"] if step.get("name") == "What else there is to tell"]
    base = honest.check("git", "rev-parse", "HEAD~2").strip()
    honest.check("bash", "-ec", tell["run"], BASE=base, GITHUB_STEP_SUMMARY=str(honest.folder / "summary.md"))
    comment = honest.read("comment.md")
    assert comment.startswith("### verified")
    assert re.search(r"\| params.yaml +\| sweep.trials +\| 20 +\| 25 +\|", comment)
    assert re.search(r"\| reports/metrics/sweep.json +\| monte_carlo.slope.value +\|", comment)
    assert honest.read("summary.md") == comment


UNABLE = {
    "no commit": (["rm", "-rf", ".git"], "could not verify: git status --porcelain failed"),
    "a stage that fails": (
        ["sh", "-c", "echo 'raise SystemExit(3)' >> stages/matrices.py && git commit -qam fails"],
        "matrices failed: ",
    ),
    "a lock file that is none": (["sh", "-c", "echo a: > dvc.lock && git commit -qam none"], "could not verify: dvc"),
}


@pytest.mark.parametrize(("command", "told"), UNABLE.values(), ids=UNABLE)
def test_what_can_not_be_verified_ends_with_another_code(honest, command, told):
    honest.check("git", "config", "user.name", "t")
    honest.check("git", "config", "user.email", "t@example.org")
    honest.check(*command)
    done = honest.run("python", "-m", "tools.verify", "--stages", "matrices")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
