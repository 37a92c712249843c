"""Continuous integration and the hooks of pre-commit run what the README and `make lint` tell people to run."""

import re
import shlex

from closure import ROOT
from ruamel.yaml import YAML

WORKFLOW = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
REPOSITORIES = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
HOOKS = [hook for repository in REPOSITORIES for hook in repository["hooks"]]
CHECKS = ["make lint", "make test-all", "make verify"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def test_both_run_the_checks_in_order():
    here = re.findall(r"^make [a-z-]+", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    there = [found[0] for step in STEPS if (found := re.match(r"make [a-z-]+", step.get("run", "")))]
    assert there == CHECKS
    assert here == [check.replace("test-all", "test") for check in CHECKS], "of the slow tests it runs some"
    assert "-e" in (ROOT / ".ci/run").read_text("utf-8").split("set ")[1].split()[0]
    assert re.search(r"^test-all: test\b", MAKEFILE, re.MULTILINE)


def test_the_workflow_verifies_weekly_and_on_pull_requests():
    assert {"pull_request", "schedule", "push"} <= set(WORKFLOW["on"])
    assert WORKFLOW["on"]["schedule"][0]["cron"].split()[-1].isdigit()
    assert not any("continue-on-error" in step for step in STEPS)


def test_the_page_is_published_from_the_default_branch_after_verification():
    pages = WORKFLOW["jobs"]["pages"]
    assert set(pages["needs"]) == {"tests", "verify"}
    assert "default_branch" in pages["if"] and "pull_request" in pages["if"]


def test_the_hooks_are_the_checks_of_make_lint_and_need_no_network():
    recipe = re.search(r"^lint:.*\n(.*)$", MAKEFILE, re.MULTILINE)[1]
    checks = [shlex.split(command.replace(" .", "")) for command in recipe.split(" && ")[1:]]
    hooks = [shlex.split(hook["entry"].replace(" --force-exclude", "")) for hook in HOOKS]
    assert hooks == [*checks, ["python", "-m", "tools.build_docs", "--check"]]
    assert {repository["repo"] for repository in REPOSITORIES} == {"local"}
    assert {hook["language"] for hook in HOOKS} == {"system"}
