"""Which stages may begin when, how many fit a machine, and in what order they are recorded."""

from __future__ import annotations

import psutil
import pytest

from tools.scheduling import pipeline, resources, runner
from tools.scheduling.schedule import Schedule

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


def test_the_stages_of_a_lock_are_sorted_and_those_no_longer_declared_are_dropped(tmp_path):
    lock = tmp_path / "dvc.lock"
    head = "schema: '2.0'\nstages:\n"
    block = {name: f"  {name}:\n    cmd: |\n      {name}\n" for name in ("a", "b@1", "b@2", "gone", "gone@1")}
    lock.write_text(head + "".join(block[name] for name in ("b@2", "gone", "b@1", "gone@1", "a")))
    pipeline.sort_lock(lock, ["a", "b@1", "c"])
    assert lock.read_text() == head + block["a"] + block["b@1"] + block["b@2"], "b@2 is an instance that may come back"
    before = lock.stat().st_mtime_ns
    pipeline.sort_lock(lock, ["a", "b@1"])
    assert lock.stat().st_mtime_ns == before
    lock.write_text("schema: '2.0'\nstages: {}\n")
    pipeline.sort_lock(lock, ["a"])
    assert lock.read_text() == "schema: '2.0'\nstages: {}\n"
    pipeline.sort_lock(tmp_path / "none.lock", ["a"])
    assert not (tmp_path / "none.lock").exists()


def test_memory_is_that_of_the_models_parameters_and_of_what_its_tokens_leave():
    from goldilocks.model5.model import Shape

    small = resources.Training(4096, 64, 128, 6, 6)
    assert small.parameters == Shape(4096, 64, 128, 4, 6).parameters
    articles = resources.Training(50257, 256, 768, 12, 16)
    assert 4.5e9 < articles.memory < 6.5e9, "measured: 5.3 GB"
    assert 0.4e9 < small.memory < 0.7e9
    assert articles._replace(accumulate=4).memory < 0.7 * articles.memory


@pytest.mark.parametrize(
    ("jobs", "cores", "most", "expected"),
    [(4, 1, None, ["t1", "t2", "t3", "x"]), (2, 1, None, ["t1", "t2"]), (2, 1, 3, ["t1", "t2", "t3"]),
     (1, 1, 3, ["t1"]), (4, 1, 2, ["t1", "t2", "x"]), (4, 2, None, ["t1", "t2", "t3"]), (3, 2, None, ["t1"]),
     (4, 2, 2, ["t1", "t2"]), (5, 2, 2, ["t1", "t2", "x"]), (1, 4, None, ["t1"]), (3, 9, 2, ["t1"])],
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


def test_each_stage_that_trains_has_a_limit_of_its_own():
    asked = []

    def trainings(first):
        asked.append(first)
        return 1 if first.startswith("train@") else 6

    limits = runner.Limits(8, trainings=trainings)
    found = [
        limits.trainings(name) for name in ("ablations/dvc.yaml:rate@x-1", "ablations/dvc.yaml:rate@x-2", "train@0")
    ]
    assert found == [6, 6, 1], "with a GPU trainings of `train` do not begin side by side after those of `rate`"
    assert asked == ["ablations/dvc.yaml:rate@x-1", "train@0"]
