"""Model 5 as the stage `train` trains it, and what is measured with the project's own means."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stages  # noqa: F401  before torch: it says how its threads wait

# isort: split
import torch
from torch import Tensor

from benchmarks.sizes import LEARNING_RATE, LINEAR_STD, WEIGHT_DECAY, Size
from stages.common import params
from stages.config.train import Run, Settings
from stages.model5 import hardware, initialisation, training
from stages.model5.model import Model5, Shape
from stages.model5.recorder import Recorder

KINDS = {"portable": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16}
WATCHED = 3  # snapshots that are timed


def trainer(size: Size, precision: str) -> training.Trainer:
    """A trainer as the stage makes it, deterministic algorithms included."""
    hardware.flush_denormals()
    hardware.prepare(torch.get_num_threads())
    model = Model5(Shape(size.vocabulary, size.context_length, size.width, size.heads, size.blocks))
    initialisation.initialise(model, LINEAR_STD, 0)
    autocast = "bf16" if precision == "bf16" else "fp32"
    return training.Trainer(training.Objective(model, autocast), LEARNING_RATE, WEIGHT_DECAY)


def ours(size: Size, precision: str) -> Callable[[Tensor], float]:
    """A training step of Model 5."""
    made = trainer(size, precision)

    def step(windows: Tensor) -> float:
        loss = made.gradient(windows)
        made.optimizer.step()
        made.optimizer.zero_grad()
        return loss

    return step


def use_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def machine() -> dict[str, Any]:
    """What torch says of this machine."""
    return {
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "bf16": hardware.has_bf16(torch.cpu.get_capabilities()),
    }


def product_rate(precision: str, side: int) -> dict[str, float]:
    """Rate of square matrix products in FLOP/s in a precision: what a step could reach at best."""
    return {precision: 1e9 * hardware.product_rate(KINDS[precision], side, repeats=3)}


def _settings(size: Size) -> Settings:
    """params.yaml's, at this size."""
    changed = {name: getattr(size, name) for name in ("blocks", "width", "heads", "batch_size")}
    found, _ = params.load("train", Settings, Run)
    return found.model_copy(update=changed | {"accumulate": 1, "linear_std": LINEAR_STD})


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def watching(size: Size, precision: str) -> dict[str, Any]:
    """What recording costs a training of params.yaml's length.

    Snapshots are timed where no test loss is due, test losses by themselves, and the training's steps between them.
    """
    settings, made = _settings(size), trainer(size, precision)
    generator = torch.Generator().manual_seed(1)
    windows = torch.randint(0, size.vocabulary, (settings.evaluation_windows, size.context_length + 1),
                            generator=generator)  # fmt: skip
    batch = windows[: size.batch_size]
    snapshots, steps = [], []

    def update() -> None:
        made.gradient(batch)
        made.optimizer.step()

    for _ in range(size.warm_up):
        update()
        made.optimizer.zero_grad()
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(settings, made.objective, windows, windows, {}, Path(folder))
        due = [step for step in sorted(recorder.steps) if step % settings.evaluate_every] or sorted(recorder.steps)
        for step in due[:WATCHED]:
            before = _seconds(lambda step=step: recorder.before(step))  # type: ignore[misc]
            steps.append(_seconds(update))
            snapshots.append(before + _seconds(lambda step=step: recorder.after(step)))  # type: ignore[misc]
            made.optimizer.zero_grad()
    test_loss = _seconds(lambda: training.mean_loss(made.objective, windows, size.batch_size))
    found: dict[str, Any] = {
        "precision": precision,
        "snapshot_seconds": statistics.median(snapshots),
        "snapshots": len(recorder.steps),
        "test_loss_seconds": test_loss,
        "test_losses": math.ceil(settings.steps / settings.evaluate_every),
        "step_seconds": statistics.median(steps),
        "steps": settings.steps,
    }
    spent = found["snapshots"] * found["snapshot_seconds"]
    training_seconds = found["steps"] * found["step_seconds"]
    tested = found["test_losses"] * found["test_loss_seconds"]
    return found | {"snapshots_share": spent / training_seconds, "share": (spent + tested) / training_seconds}
