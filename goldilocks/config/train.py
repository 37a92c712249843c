"""The section `train` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from goldilocks.config.model5 import Model5
from goldilocks.config.run import Arithmetic, RootSeed


class Settings(Model5):
    accumulate: int = Field(ge=1, le=65_536)
    processes: int = Field(ge=1, le=65_536)
    threads: int = Field(ge=1, le=1024)
    device: Literal["cpu", "cuda", "auto"]
    precision: Literal["fp32", "bf16", "bf16_anyway"]
    compile: bool
    learning_rate: float = Field(gt=0, le=10)
    snapshot_every: int = Field(ge=1, le=10_000_000)
    snapshot_precision: Literal["fp32", "bf16"]  # of the files; tables are made from the weights as they are
    checkpoint_every: int = Field(ge=1, le=10_000_000)
    evaluate_every: int = Field(ge=1, le=10_000_000)
    inference_windows: int = Field(ge=1, le=1_000_000)
    histogram_edges: int = Field(ge=2, le=10_000)
    histogram_limit: float = Field(ge=1e-6, le=1e6)
    tail_sigmas: float = Field(gt=0)
    prompt: str = Field(min_length=1)
    sample_tokens: int = Field(ge=1, le=100_000)

    @model_validator(mode="after")
    def _equal_shares(self) -> Settings:
        shares = self.processes * self.accumulate
        if self.batch_size % shares:
            raise ValueError(f"batch_size = {self.batch_size} must be a multiple of processes × accumulate = {shares}")
        return self


class Run(RootSeed, Arithmetic):
    """What this stage sees of `run:`; its own seed comes on the command line."""


def native_only(settings: Settings, run: Arithmetic) -> list[str]:
    """A line for each setting that portable arithmetic is asked for and can't have; it computes in fp32 on one core."""
    asked = {
        "threads": settings.threads > 1,
        "device": settings.device == "cuda",
        "precision": settings.precision != "fp32",
        "compile": settings.compile,
    }
    return [
        f"train.{name} = {getattr(settings, name)}: has no portable arithmetic; set run.arithmetic=native with it"
        for name, is_asked in asked.items()
        if is_asked and run.arithmetic == "portable"
    ]


def device(settings: Settings, run: Arithmetic) -> str:
    """Where to train: `auto` leaves the choice open in native arithmetic only."""
    return settings.device if run.arithmetic == "native" else "cpu"
