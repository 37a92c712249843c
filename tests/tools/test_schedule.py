"""Which stages may begin when, how many fit a machine, and in what order they are recorded."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from goldilocks.core import files
from stages import check
from tools.scheduling import limits, pipeline, runner

GRAPH = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []}


def test_a_stage_is_asked_for_its_status_when_what_it_needs_has_run_and_what_nothing_touches_never():
    asked, answers = [], iter([{"c"}, {"d"}])
    found = runner.Schedule(GRAPH, {"a"}, lambda names: asked.append(names) or next(answers))
    assert found.ready() == ["a"]
    found.begin("a")
    assert (found.ready(), asked) == ([], [])
    found.end("a")
    assert (found.ready(), asked) == (["c"], [["b", "c"]])
    found.begin("c")
    found.end("c")
    assert (found.ready(), asked[1:]) == (["d"], [["d"]])
    assert (found.waiting, found.ancestors(["d"])) == ({"d"}, {"a", "b", "c"})


def test_what_is_made_again_as_it_was_makes_nothing_else_run():
    found = runner.Schedule(GRAPH, {"b", "e"}, lambda _: set())
    assert found.ready() == ["b", "e"]
    for name in "be":
        found.begin(name)
    found.end("b")
    assert (found.ready(), found.waiting) == ([], set())


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

    small = SimpleNamespace(width=128, blocks=6, batch_size=6)
    articles = SimpleNamespace(width=768, blocks=12, batch_size=16, accumulate=1)
    assert limits.parameters(small, 4096, 64) == Shape(4096, 64, 128, 4, 6).parameters
    whole = limits.memory(articles, 50257, 256)
    assert 4.5e9 < whole < 6.5e9, "measured: 5.3 GB"
    assert 0.4e9 < limits.memory(small, 4096, 64) < 0.7e9
    articles.accumulate = 4
    assert limits.memory(articles, 50257, 256) < 0.7 * whole


@pytest.mark.parametrize(
    ("jobs", "cores", "most", "expected"),
    [(4, 1, None, "012x"), (2, 1, None, "01"), (4, 1, 2, "01x"), (4, 2, None, "01"), (5, 2, None, "01"),
     (1, 4, None, "0"), (3, 9, 2, "0"), (2, 1, 3, "012"), (1, 1, 3, "0"), (4, 2, 3, "012"), (3, 2, 3, "0")],
)  # fmt: skip
def test_what_fits_begins_trainings_first(monkeypatch, jobs, cores, most, expected):
    monkeypatch.setattr(runner, "Child", lambda name, *_, **__: SimpleNamespace(stage=name))
    stages = {name: [] for name in ("x", "train@0", "train@1", "train@2")}
    fitting = runner.Limits(jobs, cores, most and (lambda _: most))
    tried = runner.Runner(runner.Schedule(stages, stages, list), fitting)
    tried._begin_what_fits()
    assert "".join(child.stage[-1] for child in tried.children) == expected


def test_a_containers_limit_counts(tmp_path):
    (tmp_path / "memory.current").write_text("300000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert limits.free_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    (tmp_path / "memory.max").write_text("400000000\n")
    assert limits.free_memory(tmp_path) == 1e8


def test_each_stage_that_trains_has_a_limit_of_its_own_asked_for_once(bare, monkeypatch, capsys):
    monkeypatch.chdir(bare.folder)
    monkeypatch.setattr(limits.train, "device", lambda *_: "cuda")
    monkeypatch.setattr(limits.system_info, "cores", lambda: 8)
    monkeypatch.setattr(limits, "free_memory", lambda: 3.1 * 450e6)
    files.write_json(files.DATA / "tokens" / "description.json", {"vocabulary": 256, "context_length": 16})
    found = limits.limits(check.validated(), None)
    names = ("ablations/dvc.yaml:rate@x-1", "ablations/dvc.yaml:rate@x-2", "train@0")
    assert [found.trainings(name) for name in names] == [2, 2, 1], "those of `train` share the GPU; others do not"
    assert capsys.readouterr().out == "2 at once: a training takes about 0.5 GB of memory, 1.4 are free\n"
