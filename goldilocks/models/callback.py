"""`Watch` as a callback of transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from goldilocks.models.watch import EVERY, Watch


class TransformersWatch(TrainerCallback):
    """`Watch` as a callback of transformers' Trainer, with its arguments but for the model."""

    def __init__(self, every: int = EVERY, folder: str | Path = "watch", probe: Tensor | None = None) -> None:
        self.arguments = every, folder, probe
        self.watch: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        if state.is_world_process_zero:
            self.watch = Watch(model, *self.arguments, start=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if self.watch:
            self.watch.at(state.global_step)
