"""Train a small Model 5 with one of its choices changed, and record it. (claims S8, S13-S15)

The articles say what scaling, LayerNorm and a narrow start are good for, and train with all of them. This stage trains
the same code without one of them. All conditions share their windows and the random numbers behind their initial
weights, so runs of one seed differ only in condition and learning rate, and are compared as pairs. The rate is the one
that did best for the condition with another seed, on another part of the test text (`stages/rate.py`). A run whose
loss is no longer finite has diverged; its records until then stay.

At steps 0, 1, 2, 4, … and every `look_every` it records the loss on fixed test windows, with and without attention; by
block, the entropy and the largest logit of attention, the standard deviation of the QKV weights, the root mean square
(RMS) of the activations that enter the block and of attention's input, and the gradient norm of all parameters. At the
start and at the end it records for each head what decides whether it lies in the Goldilocks zone; at the end, how the
gradient norms varied over all steps.

Reads:  data/tokens/ or data/second_text/, ablations/rates/<condition>/
Writes: ablations/runs/<condition>/seed-<s>.parquet

example: python -m stages.ablate no_layernorm 0
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from goldilocks.ablations import runs
from goldilocks.ablations.condition import Condition
from goldilocks.ablations.runs import Tokens
from goldilocks.config.ablate import Run, Settings
from goldilocks.core import cli, files, params, tables

if TYPE_CHECKING:
    from goldilocks.model5.weight_stats import Row


def train_one(
    settings: Settings, run: Run, condition: Condition, rate: float, seed: int, tokens: Tokens, label: str
) -> list[Row]:
    """Train one condition with one seed and return the rows of the `ablation` table."""
    from goldilocks.ablations.recorder import Watch
    from goldilocks.model5 import ngrams, training, weight_stats

    model = runs.untrained(settings, condition, run.root_seed, seed, tokens)
    objective, trainer = runs.trainer(model, rate, settings)
    windows = tokens.windows(run.root_seed, settings.evaluation_windows)
    looks = weight_stats.snapshot_steps(settings.steps, settings.look_every)
    references = ngrams.losses(tokens.train, windows.numpy(), tokens.vocabulary)
    watch = Watch(objective, windows, settings.probe_windows, settings.batch_size, looks, references)
    batches = tokens.batches(run.root_seed, seed, settings.batch_size)
    step = -1
    try:
        for step, loss in enumerate(training.train(trainer, batches, 0, settings.steps, watch, label)):
            watch.train_loss(step, loss)
    except training.DivergedError:
        watch.diverged(step + 1)
    watch.summarise_gradients()
    return watch.rows


def best_rate(settings: Settings, folder: Path) -> float:
    """The learning rate of the training in a folder that ended with the lowest loss.

    Raises:
        UserError: if a training is missing, or all diverged.
    """
    losses: dict[float, float] = {}
    for rate in settings.rates:
        path = folder / f"{rate}.json"
        if not path.is_file():
            raise cli.UserError(f"{path}: no such file; run python -m stages.rate {folder.name} {rate}")
        loss = files.read_json(path)["loss"]
        losses[rate] = math.inf if loss is None else loss
    if not math.isfinite(min(losses.values())):
        raise cli.UserError(f"{folder}: diverged with every rate; give ablate.rates lower ones")
    return min(losses, key=losses.__getitem__)


def main() -> None:
    parser = cli.parser(__doc__, "stages.ablate")
    parser.add_argument("condition", help="which condition to train, of ablations/conditions/")
    parser.add_argument("seed", type=cli.seed, help="which seed")
    arguments = parser.parse_args()
    shared, run = params.load("ablate", Settings, Run)
    name, seed = arguments.condition, arguments.seed
    condition = Condition.read(name)
    settings = condition.changed(shared)
    rate = best_rate(settings, runs.RATES / name)
    runs.prepare()
    rows = train_one(settings, run, condition, rate, seed, Tokens.of(condition).for_results(), f"{name}, seed {seed}")
    runs.refuse_other_code()
    made_by = {
        "ablate": shared.model_dump(),
        "run": run.model_dump(),
        "condition": name,
        "seed": seed,
        "learning_rate": rate,
    }
    tables.write(runs.RUNS / name / f"seed-{seed}.parquet", "ablation", tables.columns(rows), made_by)


if __name__ == "__main__":
    cli.run(main)
