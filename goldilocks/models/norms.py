"""The norms of anyone's checkpoint as a data frame, and which of them attention's projections read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from operator import and_, eq
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.conventions import deciding
from goldilocks.checkpoints.families import KINDS, choose
from goldilocks.checkpoints.load import load
from goldilocks.core.cli import UserError
from goldilocks.models.projections import Projection

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("gamma_mean", "gamma_std", "beta_mean", "beta_std")
"""The statistics of the norm that projections read; NaN where there is none."""


def norms(*checkpoints: str | Path, client: Client | None = None) -> pd.DataFrame:
    """Every γ and β of checkpoints, a row a value, with the columns of the pipeline's table `layernorm`.

    `attrs["unknown_convention"]` says of which models it is not known whether γ is stored less 1, and why.

    Args:
        checkpoints: as `goldilocks norms` takes them: paths, addresses, repositories.

    Raises:
        UserError: if one can't be read, or has no norm.
    """
    import pandas as pd

    parts, unknown = [], {}
    for argument in checkpoints:
        extraction = load(argument, client)
        if extraction.unknown:
            unknown[extraction.model] = extraction.unknown
        of_model = {"model": extraction.model, "revision": extraction.revision, "family": extraction.family}
        for tensor in extraction.tensors:
            place = tensor.norm._asdict() | {"stored": tensor.stored, "index": np.arange(tensor.values.size)}
            parts.append(pd.DataFrame(of_model | place | {"value": tensor.values}))
    if not parts:
        raise UserError("no checkpoint was given")
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = {"unknown_convention": unknown}
    return frame


class Read:
    """The norms whose output attention's projections read, by the rules of `goldilocks norms`.

    Args:
        names: all tensors of a model.
        config: its config.json.
    """

    def __init__(self, names: Iterable[str], config: Mapping[str, Any] | None) -> None:
        choice = choose(names, deciding(dict(config) if config else None))
        self.inputs = {
            name: norm
            for name, norm in choice.norms.items()
            if "attention" in norm.place and norm.place.endswith("input")
        }
        self.stored_less_1 = choice.stored_less_1

    def of(self, projection: Projection) -> tuple[str, ...]:
        """The γ, and β if there is one, of the norm before a projection; empty where none is known."""
        of_block = [name for name, norm in self.inputs.items() if norm.block == projection.block]
        alike = {name: sum(accumulate(map(eq, name, projection.module), and_)) for name in of_block}
        nearest = max(of_block, key=alike.__getitem__, default="").rpartition(".")[0]  # by how its name begins
        return tuple(name for name in of_block if name.rpartition(".")[0] == nearest)

    def columns(self, tensors: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The statistics of a norm with these parameters, γ as the model multiplies with it."""
        statistics = dict.fromkeys(COLUMNS, float("nan"))
        for name, stored in tensors.items():
            kind = KINDS[name.rpartition(".")[2]]
            values = stored.astype(np.float64) + (name in self.stored_less_1)
            statistics |= {f"{kind}_mean": float(values.mean()), f"{kind}_std": float(values.std())}
        return statistics
