"""The section `train` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from goldilocks.config.model5 import Model5
from goldilocks.config.run import Arithmetic, RootSeed


class Settings(Model5):
    accumulate: int = Field(ge=1, le=65_536)
    """Parts that each process takes its share of a batch in, one after another, to save memory."""

    processes: int = Field(ge=1, le=65_536)
    """Processes that share each batch; the stage starts them on this machine, torchrun on several."""

    threads: int = Field(ge=1, le=1024)
    """Threads of a training on this machine, shared by its processes; more than one in native arithmetic only."""

    device: Literal["cpu", "cuda", "auto"]
    """Where to train; `auto` is a GPU if there is one and arithmetic is native."""

    precision: Literal["fp32", "bf16", "bf16_anyway"]
    """Type of the matrix products; bf16 (autocast) is refused on a processor that lacks it, bf16_anyway is not."""

    compile: bool
    """Whether torch.compile makes the model faster first; needs a C++ compiler, pays off on GPUs."""

    learning_rate: float = Field(gt=0, le=10)
    """AdamW's learning rate, constant."""

    snapshot_every: int = Field(ge=1, le=10_000_000)
    """Steps between snapshots of the weights; before the first of them, snapshots are at 0, 1, 2, 4, 8, …."""

    snapshot_precision: Literal["fp32", "bf16"]
    """Type of the QKV weights in the snapshots' files; the tables are made from the weights as they are."""

    checkpoint_every: int = Field(ge=1, le=10_000_000)
    """Steps between checkpoints; what a kill costs at most. No result depends on it."""

    evaluate_every: int = Field(ge=1, le=10_000_000)
    """Steps between test losses; step 0 is always one."""

    inference_windows: int = Field(ge=1, le=1_000_000)
    """Other fixed windows of the test text on which, at the last snapshot, attention's logits are scaled otherwise."""

    histogram_edges: int = Field(ge=2, le=10_000)
    """Edges of the weights' histogram, evenly over ±histogram_limit; beyond lie an under- and an overflow bin."""

    histogram_limit: float = Field(ge=1e-6, le=1e6)
    """Outermost edges of the histogram."""

    tail_sigmas: float = Field(gt=0)
    """A weight beyond this many initial standard deviations lies in the tail."""

    prompt: str = Field(min_length=1)
    """What the text samples start from."""

    sample_tokens: int = Field(ge=1, le=100_000)
    """Tokens generated before and after training."""

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
