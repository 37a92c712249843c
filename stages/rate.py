"""Train one condition of the ablations at one learning rate, and record its test loss.

The seed and the half of the test text are other ones than those of results, so that rates are not chosen on the data
that conditions are compared on.

Reads:  data/tokens/ or data/second_text/
Writes: ablations/rates/<condition>/<rate>.json

example: python -m stages.rate unscaled 0.0003
"""

from __future__ import annotations

import math

from goldilocks.ablations import runs
from goldilocks.ablations.condition import Condition
from goldilocks.ablations.runs import Tokens
from goldilocks.config.ablate import Run, Settings
from goldilocks.core import cli, files, params


def last_loss(settings: Settings, run: Run, condition: Condition, rate: float, tokens: Tokens, label: str) -> float:
    """The test loss after training at a rate, ∞ if it diverged."""
    from goldilocks.model5 import training

    seed, size = settings.rates_seed, settings.batch_size
    model = runs.untrained(settings, condition, run.root_seed, seed, tokens)
    objective, trainer = runs.trainer(model, rate, settings)
    batches = tokens.batches(run.root_seed, seed, size)
    try:
        list(training.train(trainer, batches, 0, settings.steps, label=label))
    except training.DivergedError:
        return math.inf
    return training.mean_loss(objective, tokens.windows(run.root_seed, settings.evaluation_windows), size)


def main() -> None:
    parser = cli.parser(__doc__, "stages.rate")
    parser.add_argument("condition", help="which condition to train, of ablations/conditions/")
    parser.add_argument("rate", type=float, help="AdamW's learning rate")
    arguments = parser.parse_args()
    if not 0 < arguments.rate <= 10:
        parser.error(f"rate {arguments.rate}: must lie above 0 and at most at 10")
    shared, run = params.load("ablate", Settings, Run)
    name, rate = arguments.condition, arguments.rate
    condition = Condition.read(name)
    runs.prepare()
    tokens = Tokens.of(condition).for_rates()
    loss = last_loss(condition.changed(shared), run, condition, rate, tokens, f"{name}, rate {rate}")
    runs.refuse_other_code()
    found = {"learning_rate": rate, "loss": loss if math.isfinite(loss) else None}
    files.write_json(runs.RATES / name / f"{rate}.json", found)


if __name__ == "__main__":
    cli.run(main)
