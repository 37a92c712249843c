"""The hooks of pre-commit are the checks of `make lint`, run without a network, and fail where something is off."""

import re
import shlex

from closure import ROOT
from ruamel.yaml import YAML

REPOSITORIES = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
HOOKS = {hook["id"]: hook for repository in REPOSITORIES for hook in repository["hooks"]}
OFF = {
    "ruff-check": ("tools/prune.py", "import os"),
    "ruff-format": ("tools/prune.py", "x = {  }"),
    "lint-imports": ("tools/prune.py", "import torch"),
    "generated": ("tools/findings.md.j2", "One finding more."),
}
"""A line that each hook must refuse, by the file it is added to; mypy takes too long here."""


def test_they_are_the_checks_of_make_lint():
    recipe = re.search(r"^lint:.*\n(.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    checks = [shlex.split(command.replace(" .", "")) for command in recipe.split(" && ")[1:]]
    hooks = [shlex.split(hook["entry"].replace(" --force-exclude", "")) for hook in HOOKS.values()]
    assert hooks == [*checks, ["python", "-m", "tools.build_docs", "--check"]]


def test_they_need_no_network():
    assert {repository["repo"] for repository in REPOSITORIES} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


def test_hooks_pass_and_each_fails_where_something_is_off(project, tmp_path):
    command = ["pre-commit", "run", "--all-files"]
    where = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "SKIP": "mypy"}
    assert project.check(*command, **where).count("Passed") == len(OFF)
    for path, line in OFF.values():
        project.append(path, f"\n{line}\n")
    done = project.run(*command, **where)
    assert done.returncode == 1
    assert set(re.findall(r"^- hook id: (\S+)$", done.stdout, re.MULTILINE)) == OFF.keys()
