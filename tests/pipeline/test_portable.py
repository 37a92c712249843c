"""No result depends on the processor, the number of cores, other work beside it or the C library."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import elsewhere
import pytest
from closure import ROOT
from conftest import Project, fresh_copy

from goldilocks.core import files

SMALLER = (
    "train.steps=4", "train.snapshot_every=2", "train.evaluate_every=2", "train.sample_tokens=4", "ablate.steps=3",
    "ablate.rates=[1.0e-3]",
)  # fmt: skip
STAGES = (
    "matrices", "sweep", "softmax", "goldilocks", "formats", "tokens", "train 0", "train 1",
    *(f"{stage} {condition} {number}" for condition in ("scaled", "no_layernorm", "rmsnorm", "qk_norm")
      for stage, number in (("rate", 0.001), ("ablate", 0))),
    "control 0",
    "layernorm --stage model5=data/model5/seed-0/export", "dynamics", "logits", "claims",
)  # fmt: skip
ABLATIONS = ("ablations/rates", "ablations/runs", "ablations/control")
WRITTEN = ("data", "reports", *ABLATIONS)
FIGURES = "figures data/model5/seed-0"
RUN_STAGES = ROOT / "tests" / "run_stages.py"


def _run_each_stage(folder: Path) -> None:
    started = fresh_copy(folder / "started")
    started.configure(*SMALLER, preset="smoke")
    for name in ("reports/figures", "reports/metrics", "reports/plots", *ABLATIONS):
        files.remove(started.folder / name)
    for stage in ("check", "inputs"):
        started.check("python", "-m", f"stages.{stage}")
    done = started.copy(folder / "done")
    for stage in (*STAGES, FIGURES):
        name, *arguments = stage.split()
        done.check("python", "-m", f"stages.{name}", *arguments)


def emulate(project: Project, emulator: str, processor: str, *stages: str) -> None:
    """Run stages in one process on an emulated processor."""
    project.check(emulator, "-cpu", processor, sys.executable, str(RUN_STAGES), *stages)


def different(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Names of files that only one side has, or whose bytes differ."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


@pytest.mark.slow
@pytest.mark.parametrize("processor", elsewhere.PROCESSORS)
def test_another_processor_computes_the_same_bytes(shared, tmp_path, processor):
    emulator = elsewhere.emulator()
    folder = shared("each stage", _run_each_stage)
    here, there = Project(folder / "done"), Project(folder / "started").copy(tmp_path / "emulated")
    emulate(there, emulator, processor, *STAGES)
    expected = {
        name: digest for name, digest in here.results(WRITTEN).items() if not name.startswith("reports/figures/")
    }
    assert {f"data/{name}.parquet" for name in ("sweep", "logits", "model5/seed-1/attention")} <= expected.keys()
    assert {name for name in expected if name.startswith(ABLATIONS)} == {
        "ablations/control/seed-0.parquet",
        *(f"{folder}/{condition}/{name}" for condition in ("scaled", "no_layernorm", "rmsnorm", "qk_norm")
          for folder, name in (("ablations/rates", "0.001.json"), ("ablations/runs", "seed-0.parquet"))),
    }  # fmt: skip
    assert different(expected, there.results(WRITTEN)) == []


@pytest.mark.slow
def test_another_processor_draws_the_same_figures(shared, tmp_path):
    emulator = elsewhere.emulator()
    here = Project(shared("each stage", _run_each_stage) / "done")
    there = here.copy(tmp_path / "emulated")
    shutil.rmtree(there.folder / "reports" / "figures")
    emulate(there, emulator, elsewhere.PROCESSORS[0], FIGURES)
    assert different(here.results(WRITTEN), there.results(WRITTEN)) == []


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """As many processes that do nothing as fast as they can."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def rebuild(project: Project, cores: Iterable[int], **extra: str) -> str:
    """The `dvc.lock` of the pipeline rebuilt in smoke size on some cores; `extra` is added to the environment."""
    project.configure(preset="smoke")
    project.check("taskset", "--cpu-list", ",".join(map(str, cores)), "dvc", "repro", **extra)
    return project.read("dvc.lock")


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
def test_any_number_of_cores_makes_the_same_results_under_load(smoke, project, cores):
    mine = sorted(os.sched_getaffinity(0))[:cores]
    if len(mine) < cores:
        pytest.skip(f"this machine has not {cores} cores")
    with busy(cores):
        assert rebuild(project, mine) == smoke.read("dvc.lock")


@pytest.mark.slow
def test_a_newer_c_library_makes_the_same_results(smoke, project, tmp_path):
    newer, here = elsewhere.with_newer_libc(tmp_path / "newer"), Path(sys.executable).parent
    path = os.pathsep.join([str(newer), str(here), os.environ["PATH"]])
    assert rebuild(project, os.sched_getaffinity(0), PATH=path) == smoke.read("dvc.lock")
