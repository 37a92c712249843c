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
from test_resume import start, until

from stages.scheduling import pipeline, resources, runner
from stages.scheduling.schedule import Schedule

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
owner = os.getppid()
log("begins")
print("at work", file=sys.stderr, flush=True)
until = time.monotonic() + told.get(me, told["seconds"])
while time.monotonic() < until:
    time.sleep(0.02)
    if os.getppid() != owner:
        stop(signal.SIGTERM, None)
if me == told.get("failing"):
    sys.exit("error: there is no such thing")
pathlib.Path(output).parent.mkdir(exist_ok=True)
pathlib.Path(output).write_text(me)
log("ends")
"""
DRIVER = """
import sys
from stages.common import cli
from stages.scheduling.runner import Limits, rebuild
train = lambda name: name.startswith("train@")
cli.run(lambda: print(rebuild(["dvc.yaml"], Limits(int(sys.argv[1])), train, "force" in sys.argv)))
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

    def alive(self) -> bool:
        """Whether anything still runs here."""
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == self.folder:
                    return True
            except psutil.Error:
                continue
        return False


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Toy:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    folder = (tmp_path / "toy").resolve()
    folder.mkdir()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "work.py").write_text(textwrap.dedent(WORK))
    (folder / "text").write_text("abc one")
    (folder / ".gitignore").write_text("/models/\n/words\n/apart\n/end\n")  # else DVC would write one among the models
    toy = Toy(folder)
    toy.tell()
    toy.check("git", "init", "-q")
    toy.check("dvc", "init", "-q")
    return toy


def ran(out: str) -> list[str]:
    return re.findall(r"^Running stage '(.+)':$", out, re.MULTILINE)


def test_however_many_run_at_once_the_records_are_those_of_dvc_repro(toy, tmp_path):
    plain = Toy(toy.copy(tmp_path / "plain").folder)
    plain.check("dvc", "repro")
    expected = plain.read("dvc.lock")
    copies = {jobs: Toy(toy.copy(tmp_path / f"{jobs} jobs").folder) for jobs in (1, 2, 4)}
    copies[4].tell(seconds=2.0, train0=4.0)  # so that it ends last
    for jobs, copy in copies.items():
        code, out, err = copy.rebuild(jobs)
        assert (code, out.splitlines()[-1]) == (0, "True"), err
        assert copy.read("dvc.lock") == expected
        assert copy.read("end") == "train0train1train2apart0"
    assert copies[1].most_at_once() == 1
    assert copies[2].most_at_once() <= 2
    assert copies[4].most_at_once() == 4
    assert [who for what, who in copies[4].log() if what == "ends"][-1] == "train0"
    lock = copies[2].folder / "dvc.lock"
    assert copies[2].rebuild(2)[:2] == (0, "False\n")
    lock.unlink()  # and all comes back from the run cache, in whatever order
    code, out, _ = copies[2].rebuild(2)
    assert ran(out) == ["end"], "which git keeps, and so the run cache does not"
    assert out.count("is cached - skipping run") == 5
    assert lock.read_text() == expected


def test_trainings_come_first_and_what_they_do_not_wait_for_fills_up(toy):
    assert toy.rebuild(2)[0] == 0
    toy.append("work.py", "# another\n")
    toy.tell(seconds=2.0)
    (toy.folder / "log").unlink()
    assert toy.rebuild(2)[0] == 0
    begun = toy.noted("begins")
    assert (set(begun[:2]), set(begun[2:])) == ({"train0", "train1"}, {"train2", "apart0"})


def test_lines_are_told_by_whom_and_dvc_is_brief(toy):
    code, out, err = toy.rebuild(2)
    assert code == 0
    assert sorted(err.splitlines()) == sorted(
        [f"{who}: at work" for who in ("apart", "train@0", "train@1", "train@2")]
        + [f"{done} of 3 trainings done" for done in (1, 2, 3)]
    )
    assert sorted(ran(out)) == ["apart", "end", "train@0", "train@1", "train@2", "words"]
    assert len(out.splitlines()) == 7


def test_what_turns_out_the_same_makes_nothing_else_run(toy):
    assert toy.rebuild(2)[0] == 0
    (toy.folder / "text").write_text("abc two")
    code, out, err = toy.rebuild(2)
    assert (code, ran(out)) == (0, ["words", "apart"]) or ran(out) == ["apart", "words"]
    assert "trainings" not in err
    assert sorted(ran(toy.rebuild(2, "force")[1])) == ["apart", "end", "train@0", "train@1", "train@2", "words"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_is_named_others_are_recorded_and_nothing_else_begins(toy, jobs):
    toy.tell(failing="train0", train0=3.0, train1=6.0)
    code, out, err = toy.rebuild(jobs)
    assert code == 2
    assert "train@0: error: there is no such thing\n" in err or jobs == 1
    *_, failure, rest = err.splitlines()
    assert failure.startswith("error: train@0 failed: "), err
    assert "there is no such thing" in failure or jobs == 1
    assert rest == "error: what else was running was finished and recorded; run it again"
    assert "Traceback" not in err
    assert not {"train@2", "end"} & set(ran(out))
    assert toy.noted("ends").count("train1") == (jobs == 2)
    toy.tell()
    code, out, _ = toy.rebuild(jobs)
    assert code == 0
    assert ("train@1" in ran(out)) == (jobs == 1), "it was recorded"
    assert toy.read("end") == "train0train1train2apart0"


@pytest.mark.parametrize(("number", "end", "code"), [
    (signal.SIGINT, os.killpg, 130), (signal.SIGINT, os.kill, 130), (signal.SIGTERM, os.kill, 143),
], ids=["Ctrl-C", "interrupted alone", "terminated alone"])  # fmt: skip
def test_asked_to_stop_it_lets_all_stop_and_waits_for_that(toy, number, end, code):
    toy.tell(seconds=60)
    process = toy.start(2)
    until(lambda: toy.begun(2), process)
    end(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert not toy.alive()
    assert len(toy.noted("stopped")) == 2
    assert "failed" not in err
    assert "Traceback" not in out + err
    toy.tell()
    assert toy.rebuild(2)[0] == 0


def children(process):
    """The processes of DVC that run a stage each."""
    return psutil.Process(process.pid).children()


def test_killed_it_leaves_nothing_running(toy):
    toy.tell(seconds=60)
    process = toy.start(2)
    until(lambda: toy.begun(2), process)
    numbers = [child.pid for child in children(process)]
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not toy.alive())
    until(lambda: not any(map(psutil.pid_exists, numbers)))  # the system knows a process for a while after its end
    toy.tell()
    code, _, err = toy.rebuild(2)
    assert code == 0, err


def test_a_killed_dvc_is_told_and_what_it_ran_is_waited_for(toy):
    toy.tell(train0=60, train1=1)
    process = toy.start(4)
    until(lambda: toy.begun(4), process)
    victim = next(
        child for child in children(process) if any("train 0" in " ".join(c.cmdline()) for c in child.children())
    )
    victim.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "error: train@0 failed: DVC was ended by SIGKILL" in err
    assert toy.noted("stopped") == ["train0"]
    assert not toy.alive()
    toy.tell()
    code, out, _ = toy.rebuild(4)
    assert (code, ran(out)) == (0, ["train@0", "end"])


def test_another_dvc_at_work_is_waited_for(toy):
    import fcntl

    with (toy.folder / ".dvc" / "tmp" / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = toy.start(2)
        time.sleep(5)
        assert process.poll() is None
    assert process.wait(60) == 0


GRAPH = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []}


def schedule(changed, *later):
    """A schedule whose status says, each time it is asked, the next of `later`; and what was asked."""
    asked, answers = [], iter(later)

    def status(names):
        asked.append(names)
        return next(answers)

    return Schedule(GRAPH, changed, status), asked


def test_what_depends_on_a_changed_stage_is_asked_for_when_that_has_run():
    found, asked = schedule({"a"}, {"c"}, {"d"})
    assert found.ready() == ["a"]
    found.begin("a")
    assert found.ready() == []
    found.end("a")
    assert found.ready() == ["c"]
    assert asked == [["b", "c", "d"]]
    found.begin("c")
    found.end("c")
    assert found.ready() == ["d"]
    assert asked[1:] == [["d"]]


def test_nothing_is_asked_of_what_nothing_touches_and_nothing_runs_twice():
    found, asked = schedule({"b", "e"}, set())
    assert found.ready() == ["b", "e"]
    found.begin("b")
    found.begin("e")
    found.end("b")
    assert found.ready() == []
    assert asked == [["d"]]
    assert (found.waiting, found.ancestors(["d"])) == (set(), {"a", "b", "c"})


def test_the_order_of_a_lock_is_the_one_asked_for_and_nothing_else_changes(tmp_path):
    lock = tmp_path / "dvc.lock"
    text = "schema: '2.0'\nstages:\n  b@1:\n    cmd: x\n  other:\n    cmd: |\n      y\n  a:\n    cmd: z\n"
    lock.write_text(text)
    pipeline.sort_lock(lock, ["a", "b@1", "c"])
    sorted_text = "schema: '2.0'\nstages:\n  a:\n    cmd: z\n  b@1:\n    cmd: x\n  other:\n    cmd: |\n      y\n"
    assert lock.read_text() == sorted_text
    before = lock.stat().st_mtime_ns
    pipeline.sort_lock(lock, ["a", "b@1"])
    assert lock.stat().st_mtime_ns == before
    lock.write_text("schema: '2.0'\nstages: {}\n")
    pipeline.sort_lock(lock, ["a"])
    assert lock.read_text() == "schema: '2.0'\nstages: {}\n"
    pipeline.sort_lock(tmp_path / "none.lock", ["a"])
    assert not (tmp_path / "none.lock").exists()


def test_memory_is_that_of_the_models_parameters_and_of_what_its_tokens_leave():
    from stages.model5.model import Shape

    small = resources.Training(4096, 64, 128, 6, 6)
    assert small.parameters == Shape(4096, 64, 128, 4, 6).parameters
    articles = resources.Training(50257, 256, 768, 12, 16)
    assert 4.5e9 < articles.memory < 6.5e9, "measured: 5.3 GB"
    assert 0.4e9 < small.memory < 0.7e9
    assert articles._replace(accumulate=4).memory < 0.7 * articles.memory


@pytest.mark.parametrize(
    ("jobs", "cores", "most", "expected"),
    [(4, 1, None, ["t1", "t2", "t3", "x"]), (2, 1, None, ["t1", "t2"]), (4, 1, 2, ["t1", "t2", "x"]),
     (4, 2, None, ["t1", "t2"]), (5, 2, None, ["t1", "t2"]), (1, 4, None, ["t1"]), (3, 9, 2, ["t1"])],
)  # fmt: skip
def test_what_fits_begins_trainings_first(monkeypatch, jobs, cores, most, expected):
    begun = []

    class Still:
        def __init__(self, name, *_, **__):
            begun.append(name)
            self.number = len(begun)

        def fileno(self):
            return self.number

    monkeypatch.setattr(runner, "Child", Still)
    is_training = lambda name: name.startswith("t")  # noqa: E731
    stages = {name: [] for name in ("x", "t1", "t2", "t3")}
    limits = runner.Limits(jobs, lambda name: cores if is_training(name) else 1, most and (lambda _: most))
    tried = runner.Runner(Schedule(stages, stages, list), limits, is_training)
    tried._begin_what_fits()
    assert begun == expected


def test_a_containers_limit_counts(tmp_path):
    (tmp_path / "memory.current").write_text("300000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert resources.free_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    (tmp_path / "memory.max").write_text("400000000\n")
    assert resources.free_memory(tmp_path) == 1e8
