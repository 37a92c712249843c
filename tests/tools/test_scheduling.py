"""Stages side by side: in a small pipeline of its own, run by DVC for real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from closure import ROOT
from conftest import Project
from test_resume import at_work, start, until

DVC_YAML = """
stages:
  words:
    cmd: cut -c 1-3 text > words
    deps: [text]
    outs: [words]
  apart:
    cmd: python work.py apart 0 apart
    deps: [text, work.py]
    outs: [apart]
  train:
    matrix: {seed: [0, 1, 2]}
    cmd: python work.py train ${item.seed} models/${item.seed}
    deps: [words, work.py]
    outs: ["models/${item.seed}"]
  end:
    cmd: cat models/0 models/1 models/2 apart > end
    deps: [models, apart]
    outs:
      - end: {cache: false}
"""
WORK = """
# What the stages run: note when, do as they are told, write the output. Told to stop, note that, too.
import json, os, pathlib, signal, sys, time
from goldilocks.core.processes import end_with_owner
name, seed, output = sys.argv[1:]
me, told = name + seed, json.loads(pathlib.Path("told.json").read_text())
file = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
log = lambda what: os.write(file, f"{what} {me}\\n".encode())
def stop(number, _):
    log("stopped")
    print("stopped", file=sys.stderr)
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
end_with_owner()
log("begins")
print("at work", file=sys.stderr, flush=True)
until = time.monotonic() + told.get(me, told["seconds"])
while time.monotonic() < until:
    time.sleep(0.02)
if me == told.get("failing"):
    sys.exit("error: there is no such thing")
pathlib.Path(output).parent.mkdir(exist_ok=True)
pathlib.Path(output).write_text(me)
log("ends")
"""
DRIVER = """
import sys
from goldilocks.core import cli
from tools.scheduling.runner import Limits, rebuild
cli.run(lambda: print(rebuild(Limits(int(sys.argv[1])), force="force" in sys.argv)))
"""


class Toy(Project):
    """A pipeline of six stages, three of which are trainings."""

    def tell(self, **told: object) -> None:
        """Say how many seconds all take, or one (`train0=`), and which one fails (`failing=`)."""
        (self.folder / "told.json").write_text(json.dumps({"seconds": 0.3} | told))

    def start(self, jobs: int, *options: str) -> subprocess.Popen[str]:
        return start(self, "python", "-c", DRIVER, str(jobs), *options, stdout=subprocess.PIPE)

    def rebuild(self, jobs: int, *options: str) -> tuple[int, str, str]:
        process = self.start(jobs, *options)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def log(self) -> list[list[str]]:
        """What and who: one entry for each line that the stages logged."""
        path = self.folder / "log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def noted(self, what: str) -> list[str]:
        return [who for found, who in self.log() if found == what]

    def begun(self, count: int) -> bool:
        return len(self.noted("begins")) >= count

    def most_at_once(self) -> int:
        most = now = 0
        for what, _ in self.log():
            now += {"begins": 1}.get(what, -1)
            most = max(most, now)
        return most


def _new(folder: Path) -> None:
    folder.mkdir()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "work.py").write_text(textwrap.dedent(WORK))
    (folder / "text").write_text("abc one")
    (folder / ".gitignore").write_text("/models/\n/words\n/apart\n/end\n")  # else DVC would write one among the models
    toy = Toy(folder)
    toy.tell()
    toy.check("git", "init", "-q")
    toy.check("dvc", "init", "-q")


@pytest.fixture
def toy(shared, tmp_path, monkeypatch) -> Toy:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SHELL", "/bin/sh")  # DVC starts commands with it; unlike Bash, some stay as their parent
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return Toy(shared("toy", _new)).copy((tmp_path / "toy").resolve())


def ran(out: str) -> list[str]:
    return re.findall(r"^Running stage '(.+)':$", out, re.MULTILINE)


@pytest.mark.slow
def test_however_many_run_at_once_the_records_are_those_of_dvc_repro_and_only_what_changed_runs(toy, tmp_path):
    plain = toy.copy(tmp_path / "plain")
    plain.check("dvc", "repro")
    expected = plain.read("dvc.lock")
    one, four = (toy.copy(tmp_path / f"{jobs} jobs") for jobs in (1, 4))
    four.tell(seconds=6.0, train0=9.0)  # so that it ends last
    for jobs, copy in ((1, one), (4, four)):
        code, out, err = copy.rebuild(jobs)
        assert (code, out.splitlines()[-1]) == (0, "True"), err
        assert copy.read("dvc.lock") == expected
        assert copy.read("end") == "train0train1train2apart0"
        assert copy.most_at_once() == jobs
    stages = ["apart", "train@0", "train@1", "train@2"]
    told = [*(f"{who}: at work" for who in stages), *(f"{done} of 3 trainings done" for done in (1, 2, 3))]
    assert (sorted(err.splitlines()), len(out.splitlines())) == (sorted(told), 7), "by whom; and DVC is brief"
    assert four.noted("ends")[-1] == "train0"
    assert four.rebuild(2)[:2] == (0, "False\n")
    (four.folder / "dvc.lock").unlink()  # and all comes back from the run cache, in whatever order
    code, out, _ = four.rebuild(2)
    assert ran(out) == ["end"], "which git keeps, and so the run cache does not"
    assert out.count("is cached - skipping run") == 5
    assert four.read("dvc.lock") == expected
    four.tell()
    (four.folder / "text").write_text("abc two")
    assert sorted(ran(four.rebuild(2)[1])) == ["apart", "words"], "the words are the same"
    assert sorted(ran(four.rebuild(2, "force")[1])) == ["apart", "end", "train@0", "train@1", "train@2", "words"]


@pytest.mark.slow
def test_a_failure_is_named_others_are_recorded_and_nothing_else_begins(toy):
    toy.tell(failing="train0", train0=2.0, train1=4.0)  # which has begun when the other fails
    code, out, err = toy.rebuild(2)
    assert code == 2
    assert "train@0: error: there is no such thing\n" in err
    *_, failure, rest = err.splitlines()
    assert failure.startswith("error: train@0 failed: "), err
    assert "there is no such thing" in failure
    assert rest == "error: what else was running was finished and recorded; run it again"
    assert "Traceback" not in err
    assert not {"train@2", "end"} & set(ran(out))
    assert "train1" in toy.noted("ends")
    assert "train@1:" in toy.read("dvc.lock")
    assert "train@0:" not in toy.read("dvc.lock")


@pytest.mark.parametrize(
    ("number", "end", "code"),
    [
        pytest.param(signal.SIGINT, os.killpg, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, os.kill, 143, id="terminated alone", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, os.kill, -9, id="killed alone"),
    ],
)
def test_asked_to_stop_it_waits_for_all_to_stop_and_killed_it_leaves_nothing_running(toy, number, end, code):
    toy.tell(seconds=60)
    process = toy.start(2)
    until(lambda: toy.begun(2), process)
    children = [child.pid for child in psutil.Process(process.pid).children()]
    end(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "failed" not in err
    assert "Traceback" not in out + err
    if number == signal.SIGKILL:
        until(lambda: not at_work(toy))
        until(lambda: not any(map(psutil.pid_exists, children)))  # the system knows a process for a while after its end
        toy.tell()
        done, _, err = toy.rebuild(2)
        assert done == 0, err
    assert not at_work(toy)
    assert len(toy.noted("stopped")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whose", "said", "stopped"),
    [("DVC", "DVC was ended by SIGKILL", ["train0"]), ("command", "failed to reproduce 'train@0'", [])],
)
def test_a_killed_dvc_or_command_is_told_and_what_else_runs_is_waited_for(toy, whose, said, stopped):
    toy.tell(train0=60, train1=1)
    process = toy.start(4)
    until(lambda: toy.begun(4), process)
    for dvc in psutil.Process(process.pid).children():
        for command in dvc.children(recursive=True):
            if command.cmdline()[2:4] == ["train", "0"]:
                victim = dvc if whose == "DVC" else command
    victim.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"error: train@0 failed: {said}" in err
    assert toy.noted("stopped") == stopped
    assert not at_work(toy)
    toy.tell()
    code, out, _ = toy.rebuild(4)
    assert (code, ran(out)) == (0, ["train@0", "end"])


@pytest.mark.slow
def test_another_dvc_at_work_is_waited_for(toy):
    import fcntl

    with (toy.folder / ".dvc" / "tmp" / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = toy.start(2)
        time.sleep(5)
        assert process.poll() is None
    assert process.wait(60) == 0


def test_records_that_dvc_cannot_read_are_told_in_a_line(toy):
    (toy.folder / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/a')  # another process is at it
    code, _, err = toy.rebuild(2)
    assert code == 2
    assert err.startswith("error: DVC: ")
    assert "Traceback" not in err
