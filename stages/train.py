"""Train Model 5 once, for one seed, and record how its QKV weights move. (claims W1-W5)

Source: the article on weight initialisation. `stages/model5/` holds the model, its initialisation, the loop and what is
recorded; here they are put together and written down.

Reads:  data/tokens/, data/inputs/tokenizer/
Writes: data/model5/seed-<s>/ with losses, initialisation, weights, histograms, attention (.parquet),
        qkv/step-<n>.safetensors, samples.json and export/, and reports/metrics/train/seed-<s>.json

example: python -m stages.train 0
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from stages.common import bpe, cli, files, params, streams, tables

if TYPE_CHECKING:
    from torch import Tensor

    from stages.model5.model import Model5
    from stages.model5.snapshots import Row

TOKENS = files.DATA / "tokens"
TOKENIZER = files.DATA / "inputs" / "tokenizer"
OUTPUT = files.DATA / "model5"


class Settings(params.Section):
    width: int = Field(ge=2, le=16_384)
    """Width of the embeddings and of the residual stream."""

    heads: int = Field(ge=1, le=256)
    """Attention heads in each block; must divide the width."""

    blocks: int = Field(ge=1, le=256)
    """Number of Transformer blocks."""

    batch_size: int = Field(ge=1, le=65_536)
    """Windows in a batch."""

    steps: int = Field(ge=1, le=10_000_000)
    """Updates; what the articles call epochs."""

    learning_rate: float = Field(gt=0, le=10)
    """AdamW's learning rate, constant."""

    weight_decay: float = Field(ge=0, le=10)
    """AdamW's decoupled weight decay, on every parameter."""

    linear_std: float = Field(ge=1e-6, le=10)
    """Standard deviation of the Linear weights at the start."""

    snapshot_every: int = Field(ge=1)
    """Steps between snapshots of the weights; step 0 is always one."""

    evaluate_every: int = Field(ge=1)
    """Steps between test losses; step 0 is always one."""

    evaluation_windows: int = Field(ge=1, le=1_000_000)
    """Fixed windows of the test text behind each test loss."""

    probe_windows: int = Field(ge=1, le=65_536)
    """How many of them the attention statistics look at."""

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

    @field_validator("heads")
    @classmethod
    def _divide_the_width(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width", heads)
        if width % heads:
            raise ValueError(f"must divide train.width = {width}")
        return heads

    @field_validator("probe_windows")
    @classmethod
    def _among_the_evaluation_windows(cls, probes: int, info: ValidationInfo) -> int:
        windows = info.data.get("evaluation_windows", probes)
        if probes > windows:
            raise ValueError(f"must be at most train.evaluation_windows = {windows}")
        return probes


class Run(params.RootSeed, params.Threads):
    """What this stage sees of `run:`; its own seed comes on the command line."""


class Recorder:
    """Collects what the tables hold while Model 5 trains."""

    def __init__(self, settings: Settings, model: Model5, windows: Tensor, folder: Path) -> None:
        self.settings = settings
        self.model = model
        self.windows = windows
        self.folder = folder
        self.edges = np.linspace(-settings.histogram_limit, settings.histogram_limit, settings.histogram_edges)
        self.rows: dict[str, list[Row]] = {name: [] for name in ("losses", "weights", "histograms", "attention")}

    def observe(self, step: int) -> None:
        """Look at the model after `step` updates, if it is time to."""
        from stages.model5 import snapshots, training

        if step % self.settings.evaluate_every == 0:
            loss = training.mean_loss(self.model, self.windows, self.settings.batch_size)
            self.rows["losses"].append({"step": step, "split": "test", "loss": loss})
        if step % self.settings.snapshot_every == 0:
            tail = self.settings.tail_sigmas * self.settings.linear_std
            probes = self.windows[: self.settings.probe_windows]
            self.rows["weights"] += snapshots.weight_rows(self.model, step, tail)
            self.rows["histograms"] += snapshots.histogram_rows(self.model, step, self.edges)
            self.rows["attention"] += snapshots.attention_rows(self.model, step, probes)
            weights = snapshots.qkv_weights(self.model)
            files.write_tensors(self.folder / "qkv" / f"step-{step:06d}.safetensors", weights)

    def train_loss(self, step: int, loss: float) -> None:
        self.rows["losses"].append({"step": step, "split": "train", "loss": loss})

    def loss(self, split: str, which: int) -> float:
        """The first (0) or last (-1) loss of a split."""
        return float([row["loss"] for row in self.rows["losses"] if row["split"] == split][which])


def columns(rows: list[Row]) -> dict[str, list[Any]]:
    """Rows as the columns that tables are written from."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def train_one(settings: Settings, run: Run, seed: int, folder: Path) -> dict[str, Any]:
    """Train on data/tokens, fill `folder`, return the metrics."""
    import torch

    from stages.model5 import export, initialisation, training
    from stages.model5.model import Model5, Shape

    torch.set_num_threads(run.threads)
    torch.use_deterministic_algorithms(True)
    description = files.read_json(TOKENS / "description.json")
    tokens = files.read_tensors(TOKENS / "tokens.safetensors")
    context_length = description["context_length"]
    shape = Shape(description["vocabulary"], context_length, settings.width, settings.heads, settings.blocks)
    tokenizer = bpe.load(TOKENIZER)
    prompt = tokenizer.encode(settings.prompt).ids
    if not prompt:
        raise cli.UserError("params.yaml: train.prompt: the tokenizer has no token for any of it")

    def windows(step: int) -> Tensor:
        stream = training.batch_stream(run.root_seed, seed, step)
        return training.batch(tokens["train"], settings.batch_size, context_length, stream)

    def text(model: Model5, purpose: str) -> str:
        drawn = training.sample(
            model, prompt, settings.sample_tokens, training.torch_seed(run.root_seed, purpose, seed)
        )
        return str(tokenizer.decode(drawn))

    model = Model5(shape)
    initialisation.initialise(model, settings.linear_std, training.torch_seed(run.root_seed, "initialisation", seed))
    checks = [check._asdict() for check in initialisation.checks(model, settings.linear_std)]
    samples = {"before": text(model, "sample-before")}
    test = training.batch(
        tokens["test"],
        settings.evaluation_windows,
        context_length,
        streams.generator(run.root_seed, "train/evaluation"),
    )
    recorder = Recorder(settings, model, test, folder)
    optimizer = training.optimizer(model, settings.learning_rate, settings.weight_decay)
    losses = training.train(model, optimizer, windows, settings.steps, recorder.observe)
    per_step = settings.batch_size * context_length
    for step, loss in enumerate(training.with_progress(losses, settings.steps, per_step, f"train seed {seed}")):
        recorder.train_loss(step, loss)
    samples["after"] = text(model, "sample-after")

    made_by = {"train": settings.model_dump(), "run": run.model_dump(), "seed": seed, "tokens": description}
    for table, rows in (recorder.rows | {"initialisation": checks}).items():
        tables.write(folder / f"{table}.parquet", table, columns(rows), made_by)
    files.write_json(folder / "samples.json", samples)
    export.export(model, TOKENIZER, folder / "export")
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "initial_checks_passed": all(abs(c["measured"] - c["expected"]) <= c["tolerance"] for c in checks),
        "loss_of_guessing": math.log(shape.vocabulary),
        "first_train_loss": recorder.loss("train", 0),
        "last_train_loss": recorder.loss("train", -1),
        "first_test_loss": recorder.loss("test", 0),
        "last_test_loss": recorder.loss("test", -1),
    }


def main() -> None:
    parser = cli.parser(__doc__, "stages.train")
    parser.add_argument("seed", type=int, help="which of run.seeds to train")
    seed = parser.parse_args().seed
    if not 0 <= seed < 2**31:
        parser.error(f"seed {seed}: must lie in 0 … 2147483647")
    settings, run = params.load("train", Settings, Run)
    with files.atomic_directory(OUTPUT / f"seed-{seed}") as folder:
        metrics = train_one(settings, run, seed, folder)
    files.write_metrics(f"train/seed-{seed}", metrics)


if __name__ == "__main__":
    cli.run(main)
