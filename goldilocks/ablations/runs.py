"""What all trainings of the ablations share: text, code check, model and batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from goldilocks.ablations.condition import Condition
from goldilocks.core import arrays, cli, files, processes, rng, unchanged

if TYPE_CHECKING:
    from torch import Tensor

    from goldilocks.config.model5 import Model5 as Sizes
    from goldilocks.model5.model import Model5
    from goldilocks.model5.training import Objective, Trainer

FOLDER = Path("ablations")
CODE = FOLDER / "code.json"
RATES, RUNS, CONTROL = FOLDER / "rates", FOLDER / "runs", FOLDER / "control"


class Tokens(NamedTuple):
    """The text as token ids, (n,) each, and what a model must know about it."""

    train: np.ndarray
    test: np.ndarray
    vocabulary: int
    context_length: int

    @classmethod
    def read(cls, text: str = "tokens") -> Tokens:
        """A text of `data/`, by its folder."""
        folder = files.DATA / text
        tensors = arrays.read(folder / "tokens.safetensors")
        return cls(tensors["train"], tensors["test"], **files.read_json(folder / "description.json"))

    @classmethod
    def of(cls, condition: Condition) -> Tokens:
        """The text, and the context length, that a condition asks for."""
        found = cls.read(condition.settings.get("text", "tokens"))
        return found._replace(context_length=condition.settings.get("context_length", found.context_length))

    def for_rates(self) -> Tokens:
        """The same text, with the half of the test part on which learning rates are chosen."""
        return self._replace(test=self.test[self.test.size // 2 :])

    def for_results(self) -> Tokens:
        """The same text, with the other half, on which conditions are compared."""
        return self._replace(test=self.test[: self.test.size // 2])

    def windows(self, root_seed: int, number: int) -> Tensor:
        """Fixed windows of the test text: (number, T + 1)."""
        from goldilocks.model5 import training

        return training.batch(self.test, number, self.context_length, rng.generator(root_seed, "train/evaluation"))

    def batches(self, root_seed: int, seed: int, size: int) -> Callable[[int], Tensor]:
        """A function from a step to its windows (size, T + 1), which are the same in every training with this seed."""
        from goldilocks.model5 import training

        return training.batches(self.train, size, self.context_length, root_seed, seed)


def untrained(sizes: Sizes, condition: Condition, root_seed: int, seed: int, tokens: Tokens) -> Model5:
    """An untrained Model 5 in some condition. All conditions share the random numbers behind their initial weights."""
    from goldilocks.model5 import initialisation
    from goldilocks.model5.model import Model5, Shape, Variant

    shape = Shape(tokens.vocabulary, tokens.context_length, sizes.width, sizes.heads, sizes.blocks)
    model = Model5(shape, Variant(**condition.variant))
    start = rng.integer_seed(root_seed, "train/initialisation", seed)
    initialisation.initialise(model, sizes.linear_std, start, condition.start)
    return model


def trainer(model: Model5, learning_rate: float, sizes: Sizes) -> tuple[Objective, Trainer]:
    """A model's objective and its trainer."""
    from goldilocks.model5 import training

    objective = training.Objective(model)
    return objective, training.Trainer(objective, learning_rate, sizes.weight_decay)


def prepare() -> None:
    """Prepare this process to compute as every training does, and check its code."""
    if "DVC_STAGE" in os.environ:
        processes.end_with_owner()
    refuse_other_code()
    from goldilocks.model5 import hardware

    hardware.flush_denormals()
    hardware.prepare(1)


def refuse_other_code() -> None:
    """Check that the code of a run of DVC's is what `ablations/code.json` records, the only one that DVC knows.

    Raises:
        UserError: if it differs, or changed since it was loaded.
    """
    if "DVC_STAGE" not in os.environ:
        return
    noted = files.read_json(CODE)
    other = [path for path, digest in noted.items() if files.sha256(Path(path)) != digest]
    if other := [*unchanged.changed_code(path for path in noted if path not in other), *other]:
        raise cli.UserError(f"{other[0]}: changed since {CODE} was made from it; run make ablations again")
