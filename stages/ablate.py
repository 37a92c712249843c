"""What becomes of a small Model 5 when one of its choices is taken back? One condition, one seed. (claims S13-S15, W9)

The articles say what scaling, LayerNorm and a narrow start are good for, and train with all of them. Here the same
code trains without. Every condition has the same windows, and the same random numbers behind its initial weights, so
that a seed's runs differ by their condition alone and are compared as pairs. A run whose loss is no longer finite has
diverged; what was noted until then stays.

At steps 0, 1, 2, 4, … and each `look_every` it notes the loss on fixed test windows; by block the entropy and the
largest logit of attention, the standard deviation of the QKV weights, the root mean square (RMS) of the activations
that enter the block and of those that its attention sees (after LayerNorm, if there is one), and the gradient norm of
all its parameters; and at the end, over all steps, what the gradient norms were like.

Reads:  data/tokens/
Writes: ablations/runs/<condition>/seed-<s>.parquet

example: python -m stages.ablate no_layernorm 0
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stages.ablation.conditions import CONDITIONS, Condition
from stages.common import arrays, cli, files, params, processes, streams, tables, unchanged
from stages.config.ablate import Run, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from stages.model5.snapshots import Row

TOKENS = files.DATA / "tokens"
OUTPUT = Path("ablations/runs")
CODE = Path("ablations/code.json")


class Tokens(NamedTuple):
    """The text as token ids, (n,) each, and what of it a model must know."""

    train: np.ndarray
    test: np.ndarray
    vocabulary: int
    context_length: int

    @classmethod
    def read(cls) -> Tokens:
        tensors = arrays.read(TOKENS / "tokens.safetensors")
        return cls(tensors["train"], tensors["test"], **files.read_json(TOKENS / "description.json"))


def train_one(settings: Settings, run: Run, condition: Condition, seed: int, tokens: Tokens, label: str) -> list[Row]:
    """Train one condition with one seed and return the rows of the `ablation` table."""
    from stages.ablation.watch import Watch
    from stages.model5 import initialisation, snapshots, training
    from stages.model5.model import Model5, Shape, Variant

    length = tokens.context_length
    shape = Shape(tokens.vocabulary, length, settings.width, settings.heads, settings.blocks)
    model = Model5(shape, Variant(**condition.variant))
    start = training.torch_seed(run.root_seed, "initialisation", seed)
    initialisation.initialise(model, condition.linear_std, start)
    objective = training.Objective(model)
    stream = streams.generator(run.root_seed, "train/evaluation")
    windows = training.batch(tokens.test, settings.evaluation_windows, length, stream)
    looks = set(snapshots.snapshot_steps(settings.steps, settings.look_every))
    watch = Watch(objective, windows, settings.probe_windows, settings.batch_size, looks)
    trainer = training.Trainer(objective, settings.learning_rate, settings.weight_decay)

    def batch(step: int) -> Tensor:
        stream = training.batch_stream(run.root_seed, seed, step)
        return training.batch(tokens.train, settings.batch_size, length, stream)

    losses = training.train(trainer, batch, 0, settings.steps, watch)
    shown = training.with_progress(losses, 0, settings.steps, settings.batch_size * length, label)
    step = -1
    try:
        for step, loss in enumerate(shown):
            watch.train_loss(step, loss)
    except training.DivergedError:
        watch.diverged(step + 1)
    watch.summarise_gradients()
    return watch.rows


def refuse_other_code() -> None:
    """See that the code of this run is what `ablations/code.json` notes: as to code, DVC knows only that file.

    Raises:
        UserError: if it is not, or changed since it was loaded.
    """
    noted = files.read_json(CODE)
    other = [path for path, digest in noted.items() if files.sha256(Path(path)) != digest]
    if other := [*unchanged.changed_code(path for path in noted if path not in other), *other]:
        raise cli.UserError(f"{other[0]}: changed since {CODE} was made from it; run make ablations again")


def main() -> None:
    parser = cli.parser(__doc__, "stages.ablate")
    parser.add_argument("condition", choices=CONDITIONS, help="which condition to train")
    parser.add_argument("seed", type=int, help="which seed")
    arguments = parser.parse_args()
    if not 0 <= arguments.seed < 2**31:
        parser.error(f"seed {arguments.seed}: must lie in 0 … 2147483647")
    settings, run = params.load("ablate", Settings, Run)
    run_by_dvc = "DVC_STAGE" in os.environ
    if run_by_dvc:
        processes.end_with_owner()
        refuse_other_code()
    from stages.model5 import hardware

    hardware.flush_denormals()
    hardware.prepare(1)
    name, seed = arguments.condition, arguments.seed
    rows = train_one(settings, run, CONDITIONS[name], seed, Tokens.read(), f"{name}, seed {seed}")
    if run_by_dvc:
        refuse_other_code()
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    made_by = {"ablate": settings.model_dump(), "run": run.model_dump(), "condition": name, "seed": seed}
    tables.write(OUTPUT / name / f"seed-{seed}.parquet", "ablation", columns, made_by)


if __name__ == "__main__":
    cli.run(main)
