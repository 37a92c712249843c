"""Continuous integration and the hooks of pre-commit run what the README and `make lint` tell people to run."""

import re
import shlex

from closure import ROOT
from ruamel.yaml import YAML

WORKFLOW = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
REPOSITORIES = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"]
CHECKS = ["make lint", "make test-all", "make verify"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def test_both_run_the_checks_in_order_and_the_page_is_published_after_them():
    run = (ROOT / ".ci/run").read_text("utf-8")
    here = re.findall(r"^make [a-z-]+", run, re.MULTILINE)
    there = [found[0] for step in STEPS if (found := re.match(r"make [a-z-]+", step.get("run", "")))]
    assert there == CHECKS
    assert here == [check.replace("test-all", "test") for check in CHECKS], "of the slow tests it runs some"
    assert "\nset -e" in run, "the first that fails ends it"
    assert re.search(r"^test-all: test\b", MAKEFILE, re.MULTILINE)
    assert {"pull_request", "schedule", "push"} <= set(WORKFLOW["on"])
    assert not any("continue-on-error" in step for step in STEPS)
    assert set(WORKFLOW["jobs"]["pages"]["needs"]) == {"tests", "verify"}


def test_the_hooks_are_the_checks_of_make_lint_and_need_no_network():
    recipe = re.search(r"^lint:.*\n(.*)$", MAKEFILE, re.MULTILINE)[1]
    checks = [shlex.split(command.replace(" .", "")) for command in recipe.split(" && ")[1:]]
    (repository,) = REPOSITORIES
    hooks = [shlex.split(hook["entry"].replace(" --force-exclude", "")) for hook in repository["hooks"]]
    assert hooks == [*checks, ["python", "-m", "tools.build_docs", "--check"]]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
