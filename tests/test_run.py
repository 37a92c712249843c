"""The one command behind `make repro` and `make ablations`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment
from test_ablations import trained
from test_environment import lend_environment, make
from test_resume import checkpoints, digest, start, until

from stages import run
from stages.common.cli import UserError

REPORTS = ("reports/index.html", "reports/metrics/dynamics.json", "reports/metrics/claims.json")


def test_jobs_are_a_number():
    assert (run.jobs(""), run.jobs(" 3 ")) == (None, 3)
    for text in ("0", "-1", "two", "1.5", "$(touch pwned)"):
        with pytest.raises(UserError, match="must be how many stages may run at once"):
            run.jobs(text)


def test_jobs_of_make_reach_it_as_typed(project):
    lend_environment(project)
    done = make(project, "repro", "JOBS=$(touch pwned) `touch pwned`;touch pwned")
    assert done.returncode != 0
    assert "error: JOBS='$(touch pwned) `touch pwned`;touch pwned': must be how many" in done.stderr
    assert not list(project.folder.rglob("pwned"))


def test_with_nothing_to_do_no_numerical_library_is_loaded_and_no_process_started(rebuilt):
    assert rebuilt.stage("run").returncode == 0
    code = (
        "import sys; from stages import run; sys.argv = ['run']\n"
        "sys.addaudithook(lambda event, _: event in ('os.fork', 'subprocess.Popen') and print(event))\n"
        "run.main(); print({'torch', 'pandas', 'numpy', 'matplotlib', 'networkx'} & set(sys.modules))"
    )
    assert rebuilt.check("python", "-c", code) == f"{run.UP_TO_DATE}\nset()\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to someone else")
def test_in_a_clone_of_someone_else_git_alone_says_what_to_do(project):
    lend_environment(project)
    subprocess.run(["chown", "-R", "nobody", str(project.folder)], check=True)
    done = make(project, "repro", SUDO_UID="")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said[0].startswith("fatal: detected dubious ownership in repository at ")
    assert said[-1].strip() == f"git config --global --add safe.directory '{project.folder}'" or said[-1].strip() == (
        f"git config --global --add safe.directory {project.folder}"
    )
    assert "no git repository" not in done.stderr
    assert "\\t" not in done.stderr
    assert "downloaded" not in done.stderr
