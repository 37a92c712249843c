"""Train Model 5 on shuffled text with one seed, and record how its QKV weights move. (claims W5-W8)

It is trained as in `stages/train.py`, on the same text with its tokens shuffled. Token frequencies can be learned from
it, but no order. Weight movement that appears here, too, does not show that attention learns.

Reads:  data/tokens/
Writes: ablations/control/seed-<s>.parquet, the table `weights` of the first and the last snapshot

example: python -m stages.control 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goldilocks.ablations import runs
from goldilocks.ablations.condition import Condition
from goldilocks.ablations.runs import Tokens
from goldilocks.config.ablate import Run
from goldilocks.config.train import Settings
from goldilocks.core import cli, params, rng, tables

if TYPE_CHECKING:
    from goldilocks.model5.weight_stats import Row


def train_one(settings: Settings, run: Run, seed: int, tokens: Tokens, label: str) -> list[Row]:
    """Train on shuffled tokens with one seed and return the rows of the `weights` table.

    Raises:
        UserError: if it diverged.
    """
    from goldilocks.model5 import training, weight_stats

    shuffled = rng.generator(run.root_seed, "control/shuffled", seed).permutation(tokens.train)
    model = runs.untrained(settings, Condition("the articles'"), run.root_seed, seed, tokens)
    _, trainer = runs.trainer(model, settings.learning_rate, settings)
    batches = tokens._replace(train=shuffled).batches(run.root_seed, seed, settings.batch_size)
    last = weight_stats.snapshot_steps(settings.steps, settings.snapshot_every)[-1]
    initial = weight_stats.qkv_weights(model)
    tail = settings.tail_sigmas * settings.linear_std
    list(training.train(trainer, batches, 0, last, label=label))
    ends = ((0, initial), (last, weight_stats.qkv_weights(model)))
    return [
        row
        for step, weights in ends
        for row in weight_stats.weight_rows(weights, initial, settings.heads, step, tail)
        if row["head"] == weight_stats.ALL_HEADS
    ]


def main() -> None:
    parser = cli.parser(__doc__, "stages.control")
    parser.add_argument("seed", type=cli.seed, help="which seed")
    seed = parser.parse_args().seed
    settings, run = params.load("train", Settings, Run)
    runs.prepare()
    rows = train_one(settings, run, seed, Tokens.read(), f"control, seed {seed}")
    runs.refuse_other_code()
    made_by = {"train": settings.model_dump(), "run": run.model_dump(), "seed": seed}
    tables.write(runs.CONTROL / f"seed-{seed}.parquet", "weights", tables.columns(rows), made_by)


if __name__ == "__main__":
    cli.run(main)
