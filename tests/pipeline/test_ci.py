"""Continuous integration and the hooks of pre-commit run what the README and `make lint` tell people to run."""

import re

from closure import ROOT
from ruamel.yaml import YAML

WORKFLOW = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
CHECKS = ["make lint", "make test-all", "make verify"]


def test_both_run_the_checks_in_order_and_the_page_is_published_after_them():
    run = (ROOT / ".ci/run").read_text("utf-8")
    here = re.findall(r"^make [a-z-]+", run, re.MULTILINE)
    there = [found[0] for step in STEPS if (found := re.match(r"make [a-z-]+", step.get("run", "")))]
    assert there == CHECKS
    assert here == [check.replace("test-all", "test") for check in CHECKS], "of the slow tests it runs some"
    assert "\nset -e" in run, "the first that fails ends it"
    assert re.search(r"^test-all: test\b", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {"pull_request", "schedule", "push"} <= set(WORKFLOW["on"])
    assert not any("continue-on-error" in step for step in STEPS)
    assert set(WORKFLOW["jobs"]["pages"]["needs"]) == {"tests", "verify"}


def test_the_hooks_are_make_lint_and_the_check_of_generated_pages_and_need_no_network():
    (repository,) = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["entry"]: hook["language"] for hook in repository["hooks"]}
    assert hooks == dict.fromkeys(["make lint", "python -m tools.build_docs --check"], "system")
    assert repository["repo"] == "local"
