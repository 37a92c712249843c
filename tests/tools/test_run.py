"""The one command behind `make repro` and `make ablations`."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest
from test_environment import lend_environment, make
from test_resume import at_work, checkpoints, digest, start, until

from goldilocks.core import files
from goldilocks.core.cli import UserError
from tools import run


def test_jobs_are_a_number():
    assert (run.jobs(""), run.jobs(" 3 ")) == (None, 3)
    for text in ("0", "-1", "two", "1.5", "$(touch pwned)"):
        with pytest.raises(UserError, match="must be how many stages may run at once"):
            run.jobs(text)


def test_with_nothing_to_do_no_numerical_library_is_loaded_and_no_process_started(rebuilt):
    assert rebuilt.tool("run").returncode == 0
    code = (
        "import sys; from tools import run; sys.argv = ['run']\n"
        "sys.addaudithook(lambda event, _: event in ('os.fork', 'subprocess.Popen') and print(event))\n"
        "run.main(); print({'torch', 'pandas', 'numpy', 'matplotlib', 'networkx'} & set(sys.modules))"
    )
    assert rebuilt.check("python", "-c", code) == f"{run.UP_TO_DATE}\nset()\n"


def test_stages_come_in_the_order_in_which_they_are_declared(project):
    code = "from tools.scheduling.pipeline import *\nwith open_repository() as repo: print(*graph(repo))"
    declared = re.findall(r"^  (\w+):$", project.read("dvc.yaml").partition("\nstages:\n")[2], re.MULTILINE)
    at = declared.index("train")
    declared[at : at + 1] = [f"train@{seed}" for seed in range(5)]
    assert project.check("python", "-c", code, PYTHONHASHSEED="1").split() == declared


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to someone else")
def test_in_a_clone_of_someone_else_git_alone_says_what_to_do(project):
    lend_environment(project)
    subprocess.run(["chown", "-R", "nobody", str(project.folder)], check=True)
    done = make(project, "repro", SUDO_UID="")
    assert done.returncode != 0
    assert "fatal: detected dubious ownership in repository at " in done.stderr
    assert "git config --global --add safe.directory" in done.stderr
    assert "no git repository" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [True, False], ids=["from nothing", "from an earlier build"])
def test_however_many_stages_run_at_once_every_byte_is_that_of_dvc_repro(project, rebuilt, tmp_path, fresh):
    if fresh:
        project.configure(preset="smoke")
        (project.folder / "dvc.lock").unlink()
    else:
        project = rebuilt
        project.check("python", "-m", "tools.run", "--force", "check")  # puts dvc.lock in order
        project.configure("run.seeds=[1,2,0]", "train.steps=22")
    found = []
    for command in ("dvc repro", "python -m tools.run --jobs 3"):
        copy = project.copy(tmp_path / command)
        copy.check("python", "-m", "stages.check")
        copy.check(*command.split())
        assert copy.run("dvc", "status", "-q").returncode == 0
        found.append(copy.results() | {"order": copy.read("dvc.lock") if fresh else ""})
    assert found[0] == found[1]


@pytest.mark.slow
def test_two_trainings_interrupted_and_killed_while_they_save_go_on_to_the_same_bytes(rebuilt, tmp_path):
    rebuilt.configure("train.steps=1201", "train.checkpoint_every=20")
    files.remove(rebuilt.folder / "data" / "checkpoints")
    whole = rebuilt.copy(tmp_path / "uninterrupted")
    whole.check("dvc", "repro", "dynamics")
    command = ("python", "-m", "tools.run", "--jobs", "2", "dynamics")
    process = start(rebuilt, *command)
    assert until(lambda: len({path.parts[-3] for path in checkpoints(rebuilt)}) == 2, process)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("run it again to go on from there") == 2, said
    assert "Traceback" not in said
    assert not at_work(rebuilt), "it waits for what it stops"
    for _ in range(4):
        process = start(rebuilt, *command)
        until(lambda: checkpoints(rebuilt, ".step-*.tmp/*"), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        until(lambda: not at_work(rebuilt))
        if checkpoints(rebuilt, ".step-*.tmp"):
            break
    assert checkpoints(rebuilt, ".step-*.tmp"), "killed in a save"
    done = rebuilt.run(*command)
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        assert f"train@{seed}: train seed {seed}: goes on from the checkpoint of step" in done.stderr
    assert digest(rebuilt) == digest(whole)
    assert sorted(rebuilt.read("dvc.lock")) == sorted(whole.read("dvc.lock"))
    assert not checkpoints(rebuilt, "*"), "recorded by DVC, they are gone"
