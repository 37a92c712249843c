"""One training of Model 5 from beginning to end, in one process or several, resumed if there is a checkpoint."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from goldilocks.config.train import Run, Settings
from goldilocks.core import arrays, bpe, cli, files, rng, tables, unchanged
from goldilocks.core.processes import StopRequest
from goldilocks.model5 import export, hardware, initialisation, ngrams, training
from goldilocks.model5.checkpoint import Checkpoints
from goldilocks.model5.distributed import World
from goldilocks.model5.finished import CHECKPOINTS
from goldilocks.model5.metrics_recorder import SNAPSHOT_TYPES, Recorder
from goldilocks.model5.model import Model5, Shape
from goldilocks.model5.model_card import model_card

TOKENS = files.DATA / "tokens"
TOKENIZER = files.DATA / "inputs" / "tokenizer"
DATA = TOKENS.as_posix(), TOKENIZER.as_posix()
ENDS = (("first", 0), ("last", -1))


def determining(settings: Settings) -> dict[str, Any]:
    """The settings that results depend on; the number of processes that share the work is not among them."""
    return settings.model_dump(exclude={"checkpoint_every", "processes"})


def identity(settings: Settings, run: Run, seed: int, where: torch.device, before: unchanged.Marks) -> dict[str, Any]:
    """Everything that determines the bytes of the outputs, except the layout of processes.

    Args:
        before: the marks of the data files before they were read.

    Raises:
        UserError: if code or data changed since they were read; checkpoints would pass for those of the changed files.
    """
    code = unchanged.sources("train")
    data = [path for folder in (TOKENS, TOKENIZER) for path in folder.iterdir()]
    found = {
        "train": determining(settings),
        "run": run.model_dump(),
        "seed": seed,
        "data": {path.as_posix(): files.sha256(path) for path in sorted(data)},
        "code": {path.as_posix(): files.sha256(path) for path in code},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
        "python": platform.python_version(),
        "processor": hardware.capability(where) if run.arithmetic == "native" else None,
    }
    changed = unchanged.changed_code(path.as_posix() for path in code)
    if changed := changed + unchanged.differing(before, unchanged.marks(DATA)):
        raise cli.UserError(f"{changed[0]}: changed while the training of seed {seed} began; start it again")
    return found


class TrainingRun:
    """One training of Model 5, from data/tokens to the outputs.

    Args:
        world: this process among all that share the training.
        where: the device.
    """

    def __init__(self, settings: Settings, run: Run, seed: int, world: World, where: torch.device) -> None:
        hardware.prepare(max(1, settings.threads // world.local_size))  # the machine's threads, shared
        self.settings, self.run, self.seed, self.world, self.where = settings, run, seed, world, where
        self.layout = {"processes": world.size, "threads": torch.get_num_threads()}
        self.label = f"train seed {seed}"
        before = unchanged.marks(DATA)
        self.description = files.read_json(TOKENS / "description.json")
        self.tokens = arrays.read(TOKENS / "tokens.safetensors")
        self.context_length = self.description["context_length"]
        self.tokenizer = bpe.load(TOKENIZER)
        self.prompt = self.tokenizer.encode(settings.prompt).ids
        if not self.prompt:
            raise cli.UserError("params.yaml: train.prompt: the tokenizer has no token for any of it")
        sizes = (settings.width, settings.heads, settings.blocks)
        self.shape = Shape(self.description["vocabulary"], self.context_length, *sizes)
        self.model = Model5(self.shape)
        start = rng.integer_seed(run.root_seed, "train/initialisation", seed)
        initialisation.initialise(self.model, settings.linear_std, start)
        self.checks = [check._asdict() for check in initialisation.checks(self.model, settings.linear_std, start)]
        self.model.to(where)
        objective = training.Objective(self.model, settings.precision)
        self.trainer = training.Trainer(
            objective, settings.learning_rate, settings.weight_decay, settings.accumulate, settings.compile, world
        )
        self.checkpoints = Checkpoints(f"seed-{seed}", identity(settings, run, seed, where, before))
        fixed = {"evaluation": settings.evaluation_windows, "inference": settings.inference_windows}
        windows, inference = (
            training.batch(self.tokens["test"], size, self.context_length, rng.generator(run.root_seed, f"train/{of}"))
            for of, size in fixed.items()
        )
        references = ngrams.losses(self.tokens["train"], windows.numpy(), self.shape.vocabulary)
        self.recorder = Recorder(
            settings, objective, windows.to(where), inference.to(where), references, self.checkpoints.snapshots
        )
        self.samples: dict[str, str] = {}

    def text(self, when: str) -> str:
        """A sample of what the model writes."""
        stream = rng.generator(self.run.root_seed, f"train/sample-{when}", self.seed)
        return str(self.tokenizer.decode(training.sample(self.model, self.prompt, self.settings.sample_tokens, stream)))

    def resume(self, any_world_size: bool) -> int:
        """Restore the newest checkpoint, if there is one; return the first step to train.

        Raises:
            UserError: if another number of processes made it and `any_world_size` is not set.
        """
        found = self.checkpoints.newest() if self.world.writes else None
        if found and found.layout != self.layout and not any_world_size:
            before, now = (f"{x['processes']} processes of {x['threads']} threads" for x in (found.layout, self.layout))
            raise cli.UserError(
                f"{found.folder}: made by {before}, this is a training by {now}, whose last digits differ; start it "
                "as before, remove the folder to start afresh, or go on from it all the same with --any-world-size"
            )
        known = torch.tensor(found.step if found else 0, device=self.where)
        self.world.broadcast(known)
        step = int(known)
        if step > 0:
            self.trainer.restore(found.tensors() if found else {}, step)
        if found:
            self.recorder.restore(found.contents["tables"])
            self.samples = found.contents["samples"]
            print(f"{self.label}: goes on from the checkpoint of step {found.step}", file=sys.stderr)
        elif self.world.writes:
            self.announce()
            self.samples = {"before": self.text("before")}
        return step

    def announce(self) -> None:
        """Print how much the training will write.

        Raises:
            UserError: if the disk has no room for it.
        """
        shape, snapshots, precision = self.shape, len(self.recorder.steps), self.settings.snapshot_precision
        qkv = snapshots * shape.blocks * 3 * shape.width**2 * SNAPSHOT_TYPES[precision].itemsize
        exported = 4 * (shape.parameters + shape.vocabulary * shape.width)
        parts = {
            f"{snapshots} snapshots of the QKV weights in {precision}": qkv,
            "the export": exported,
            "DVC's copy of both": qkv + exported,
            "checkpoints, three at once at most": 3 * 12 * shape.parameters,
        }
        said = ", ".join(f"{size / 1e6:,.1f} MB {name}" for name, size in parts.items())
        CHECKPOINTS.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(CHECKPOINTS).free
        if sum(parts.values()) > free:
            raise cli.UserError(f"{CHECKPOINTS}: training needs {said}, but only {free / 1e6:,.1f} MB are free")
        print(f"{self.label}: {shape.parameters:,} parameters; on disk: {said}", file=sys.stderr)

    def fit(self, first: int, stop: StopRequest) -> None:
        """Train from step `first` to the end.

        Raises:
            SystemExit: after a checkpoint, if a signal asked it to stop.
        """
        steps, every = self.settings.steps, self.settings.checkpoint_every
        batches = training.batches(
            self.tokens["train"], self.settings.batch_size, self.context_length, self.run.root_seed, self.seed
        )
        watcher, label = (self.recorder, self.label) if self.world.writes else (None, "")
        last = self.recorder.loss("train", -1) if watcher and first else math.nan
        losses = training.train(self.trainer, batches, first, steps, watcher, label, last)
        for step, loss in enumerate(losses, first):
            done = step + 1
            self.recorder.train_loss(step, loss)
            stopping = self.world.any(bool(stop), self.where)
            if self.world.writes and (done % every == 0 or done == steps or stopping):
                contents = {"tables": self.recorder.columns(), "samples": self.samples}
                self.checkpoints.save(done, self.layout, self.trainer.state(), contents)
            if stopping and done < steps:
                if self.world.writes:
                    print(f"{self.label}: stopped after step {done}; run it again to go on from there", file=sys.stderr)
                sys.exit(128 + (stop.signal or signal.SIGTERM))

    def write(self, folder: Path) -> None:
        """Fill `folder` with the outputs."""
        made_by = {
            "train": determining(self.settings),
            "run": self.run.model_dump(),
            "layout": self.layout,
            "seed": self.seed,
            "tokens": self.description,
        }
        for table, found in (self.recorder.columns() | {"initialisation": tables.columns(self.checks)}).items():
            tables.write(folder / f"{table}.parquet", table, found, made_by)
        self.samples["after"] = self.text("after")
        files.write_json(folder / "samples.json", self.samples)
        files.link_all(self.checkpoints.snapshots_before(self.settings.steps), folder / "qkv")
        export.export(self.model, TOKENIZER, folder / "export")
        sizes = {part: len(ids) for part, ids in self.tokens.items()}
        losses = {f"{when} {split}": self.recorder.loss(split, at) for split in ("train", "test") for when, at in ENDS}
        card = model_card(self.seed, self.shape, self.settings, sizes, losses | self.recorder.references)
        files.write_text(folder / "export" / "README.md", card)
