"""The Makefile and the set-up: from anywhere, in paths with spaces, with errors that say what to do."""

from __future__ import annotations

import importlib
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from closure import ROOT
from conftest import environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make(project, *arguments, cwd="/", **extra):
    """Run make on the project from another folder."""
    command = ["make", "-C", str(project.folder), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment() | extra, capture_output=True, text=True)


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def lend_environment(project):
    """Let the copy use the tests' environment, marked as installed."""
    venv = project.folder / ".venv"
    if not venv.exists():
        (venv / "bin").mkdir(parents=True)
        for tool in Path(sys.executable).parent.iterdir():
            if tool.name in ("dvc", "ruff", "mypy", "pip-compile"):
                (venv / "bin" / tool.name).symlink_to(tool)
        script(venv / "bin" / "python", f'exec "{sys.executable}" "$@"')
        sums = project.check("sh", "-c", "cat requirements.lock environment.sh | cksum").strip()
        (venv / "installed").write_text(f"{sums} python3 {project.folder.resolve()}\n")
        for stamp, file in (("installed-project", "pyproject.toml"), ("installed-dev", "requirements-dev.lock")):
            (venv / stamp).write_text(project.check("sh", "-c", f"cksum < {file}"))


def test_help_lists_every_target_from_any_folder(project, tmp_path):
    done = make(project, "help")
    targets = re.search(r"^\.PHONY: (.*)$", project.read("Makefile"), re.MULTILINE)[1].split()
    assert done.returncode == 0
    assert [target for target in targets if f"make {target} " not in done.stdout] == []
    assert make(project).stdout == done.stdout, "help is the default"
    command = ["make", "-f", str(project.folder / "Makefile"), "help"]
    elsewhere = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert elsewhere.stdout in done.stdout


@pytest.mark.slow
def test_repro_applies_a_preset_and_values_and_refuses_bad_ones(rebuilt):
    lend_environment(rebuilt)
    rebuilt.check("git", "checkout", "params.yaml")
    before = rebuilt.check("git", "status", "--porcelain")
    bad = make(rebuilt, "repro", "PRESET=smoke", "SET=train.heads=5 run.seeds=[]")
    assert bad.returncode != 0
    assert "error: params.yaml: train.heads = 5: must divide width = 32" in bad.stderr
    assert rebuilt.check("git", "status", "--porcelain") == before
    good = make(rebuilt, "repro", "PRESET=smoke", "SET=report.title=Mine inputs.source=embedded")
    assert good.returncode == 0, good.stderr
    assert "+  steps: 21 #" in rebuilt.check("git", "diff", "params.yaml")
    assert "<title>Mine</title>" in rebuilt.read("reports/index.html")
    again = make(rebuilt, "repro")
    assert "Data and pipelines are up to date." in again.stdout
    assert "setting up" not in again.stdout


def test_report_says_where_it_is_and_opens_it_where_there_is_a_browser(project, tmp_path):
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}
    page = project.folder / "reports" / "index.html"
    done = make(project, "-s", "report", **nowhere)
    assert (done.returncode, done.stdout) == (0, f"{page}\n")
    browser = script(tmp_path / "browser", f'echo "$1" > "{tmp_path}/seen"')
    assert make(project, "-s", "report", **nowhere | {"BROWSER": f"{browser} %s"}).stdout == f"{page}\n"
    assert (tmp_path / "seen").read_text().strip() == page.as_uri()


def test_clean_removes_only_what_can_be_remade(project):
    lend_environment(project)
    kept = project.folder / "data" / "kept"
    gone = [project.folder / name for name in ("data/.half.tmp", "stages/__pycache__")]
    for folder in gone:
        folder.mkdir(parents=True)
    kept.write_text("kept")
    assert make(project, "clean").returncode == 0
    assert not [folder for folder in (*gone, project.folder / ".venv") if folder.exists()]
    assert kept.read_text() == "kept"
    assert project.git("status", "--porcelain") == ""


AS_IF_OLD = "import sys; sys.version_info = (3, 10, 14); exec(sys.argv[1])"
OLD = f'case "$1" in -c) exec "{sys.executable}" -c "{AS_IF_OLD}" "$2";; --version) echo Python 3.10.14;; esac'
NO_VENV = 'case "$*" in *ensurepip*) exit 1;; *) exit 0;; esac'
NO_NETWORK = f'exec "{sys.executable}" "$@"'


@pytest.mark.parametrize(
    ("python", "said"),
    [
        pytest.param(None, "no-such-python not found: install Python 3.11 or newer", id="no python"),
        pytest.param(OLD, "Python 3.10.14 is too old: Python 3.11 or newer is needed", id="too old"),
        pytest.param(NO_VENV, "has no venv module: install it (on Debian and Ubuntu: ", id="no venv"),
        pytest.param(NO_NETWORK, "requirements.lock failed: check the con", id="no network", marks=pytest.mark.slow),
    ],
)
def test_what_is_missing_is_told_in_one_line(project, tmp_path, python, said):
    chosen = script(tmp_path / "python", python) if python else "no-such-python"
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = make(project, "env", f"PYTHON={chosen}", **nowhere)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said in line
    assert not (project.folder / ".venv" / "installed").exists()


LOCKS = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"


def pins(lock):
    return set(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_the_locks_pin_everything_name_no_place_and_tests_change_nothing_that_results_are_made_with():
    results, tests = (pins(lock) for lock in LOCKS)
    assert results < tests
    lines = [line for lock in LOCKS for line in lock.read_text().splitlines() if line and line[0] not in " #"]
    assert len(lines) > 80
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+( ; .*)?", line) for line in lines)
    assert any(re.fullmatch(r"torch==[0-9.]+", line) for line in lines), "no build of one place"


def test_the_locks_satisfy_what_pyproject_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for lock, declared in zip(LOCKS, (project["dependencies"], project["optional-dependencies"]["dev"]), strict=True):
        versions = {canonicalize_name(name): version for name, version in pins(lock)}
        for requirement in map(Requirement, declared):
            assert requirement.specifier, requirement
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


ALONE = {"tools.bench.training", "tools.command"}
"""One is not for people, the other is the command `goldilocks`."""
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("stages", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text("utf-8")
]
COMMANDS = {module.removesuffix(".__main__"): module for module in MODULES}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - ALONE))
def test_every_command_has_help_with_an_example(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(COMMANDS[name]).main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m {name}")
    assert re.search(rf"(example|command).*:\s.*(python -m {re.escape(name)}|goldilocks [a-z]+)", printed, re.DOTALL)
