"""How Q, K and V move over anyone's training: the statistics of Model 5's snapshots, of a series of checkpoints.

Of each checkpoint only the header, the attention's projections and the norms before them are read, one module after
another, so that memory holds two modules' weights whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from goldilocks.checkpoints.client import Client
from goldilocks.core.cli import UserError
from goldilocks.model5.weight_stats import ALL_HEADS, members, moments, weight_statistics
from goldilocks.models.projections import Projection, Weight, find
from goldilocks.models.series import open_series

TAIL_SIGMAS = 3.0  # of the first checkpoint, where the tail begins; params.yaml's train.tail_sigmas
NEEDED = {"step", "module", "block", "part", "head", "std", "growth"}


def frame_of(projection: Projection, weight: Weight, first: Weight) -> pd.DataFrame:
    """The statistics of a projection's weights, a row for each head, part and all; NaN if one is not finite.

    Args:
        first: the weights at the first checkpoint, which they are compared with.
    """
    with np.errstate(invalid="ignore"):  # weights that are not finite
        std = moments(first.rows.astype(np.float64).reshape(sum(first.heads), -1), first.heads)["std"]
        statistics = weight_statistics(weight.rows, first.rows, first.heads, TAIL_SIGMAS * float(std[-1]))
    statistics["growth"] = np.divide(statistics["std"], std, out=np.ones_like(std), where=std != 0)
    parts, heads = zip(*members(first.heads), strict=True)
    place = {"module": projection.module, "block": projection.block, "part": parts, "head": heads}
    finite = np.isfinite(weight.rows).all()
    frame = pd.DataFrame(place | {name: values if finite else np.nan for name, values in statistics.items()})
    return frame if weight.by_head else frame[frame["head"] == ALL_HEADS]


def weights(checkpoints: str | Path | Iterable[str | Path], *, client: Client | None = None) -> pd.DataFrame:
    """The statistics of Q, K and V, by module, part and head, over a series of checkpoints of one training.

    Args:
        checkpoints: paths, addresses or repositories, as `goldilocks norms` takes them.

    Raises:
        UserError: if one can't be read, or has no such weights.
    """
    series = open_series([checkpoints] if isinstance(checkpoints, str | Path) else checkpoints, client or Client())
    _, first = series[0]
    projections = find(first.tensors.files)
    if not projections:
        raise UserError(f"{first.name}: no projections of Q, K and V known here")
    frames = []
    for projection in projections:
        initial, norm = first.look(projection)
        for step, one in series:
            weight = initial
            if one is not first:
                weight, norm = one.look(projection)
            if (weight.heads, weight.rows.shape) != (initial.heads, initial.rows.shape):
                raise UserError(f"{one.name}: {projection.names[0]} has another shape than in {first.name}")
            frame = frame_of(projection, weight, initial).assign(**norm)
            frame.insert(0, "checkpoint", one.name)
            frame.insert(1, "step", step)
            frames.append(frame)
    order = ["step", "block", "module"]
    return pd.concat(frames, ignore_index=True).sort_values(order, kind="stable", ignore_index=True)


def read_watched(folder: Path, table: str = "weights") -> pd.DataFrame:
    """A table that `goldilocks.Watch` wrote during a training, `weights` or `attention`.

    Raises:
        UserError: if it is not there.
    """
    files = sorted((folder / table).glob("step-*.parquet"))
    if not files:
        raise UserError(f"{folder}: no {table}/step-*.parquet in it, which goldilocks.Watch writes")
    try:
        frame = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    except (OSError, ValueError) as error:  # Arrow's errors are of these
        raise UserError(f"{folder}: can't be read: {next(iter(str(error).splitlines()), '')}") from None
    needed = NEEDED if table == "weights" else {"step", "module", "head", "zone"}
    if missing := needed - set(frame):
        raise UserError(f"{folder}: no table {table} of goldilocks.Watch: no column {min(missing)} in it")
    return frame
