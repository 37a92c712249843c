"""How Q, K and V move over anyone's training: the statistics of Model 5's snapshots, of a series of checkpoints.

Of each checkpoint only the header, the attention's projections and the norms before them are read, one module after
another, so that memory holds two modules' weights whatever the model's size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import CONFIG
from goldilocks.checkpoints.folders import Folder, LocalFolder
from goldilocks.checkpoints.ranges import Tally
from goldilocks.checkpoints.resolve import Checkpoint, resolve, split_argument
from goldilocks.checkpoints.tensors import Tensors, decode, read_object
from goldilocks.core.cli import UserError
from goldilocks.model5.weight_stats import ALL_HEADS, members, moments, weight_statistics
from goldilocks.models.norms import Read
from goldilocks.models.projections import Projection, Weight, arrange, find

TAIL_SIGMAS = 3.0  # of the first checkpoint, where the tail begins; params.yaml's train.tail_sigmas
NEEDED = {"step", "module", "block", "part", "head", "std", "growth"}
STEP = re.compile(r"(?:step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?0*(\d+)", re.IGNORECASE)


class Opened(NamedTuple):
    """A checkpoint whose headers were read."""

    name: str
    step: int | None
    config: dict[str, Any] | None
    tensors: Tensors
    norms: Read

    def look(self, projection: Projection) -> tuple[Weight, dict[str, float]]:
        """The values of a projection, and the columns of the norm before it.

        Raises:
            UserError: if they are not there, or are stored as nothing that is read here.
        """
        names = (*projection.names, *self.norms.of(projection))
        if absent := next((name for name in names if name not in self.tensors.files), ""):
            raise UserError(f"{self.name}: no {absent} in it, which the first checkpoint has")
        places, stored = self.tensors.places(names), self.tensors.read(names)
        values = {name: decode(stored[name], places[name].dtype) for name in names}
        try:
            weight = arrange(projection, [values.pop(name) for name in projection.names], self.config)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        return weight, self.norms.columns(values)


def _config(folder: Folder) -> dict[str, Any] | None:
    """config.json, for Model 5's own snapshots that of its export."""
    if found := read_object(folder, CONFIG, []):
        return found
    if isinstance(folder, LocalFolder) and folder.path.name == "qkv":
        found = read_object(LocalFolder(folder.path.parent / "export", Tally()), CONFIG, [])
        return {"num_attention_heads": found.get("n_head")} if found else None
    return None


def step_of(argument: str, checkpoint: Checkpoint) -> int | None:
    """After how many updates a checkpoint was taken: by `trainer_state.json`, else by its name or revision."""
    state = read_object(checkpoint.folder, "trainer_state.json", []) if checkpoint.file is None else None
    if state and type(state.get("global_step")) is int:
        return int(state["global_step"])
    name, place = split_argument(argument)
    revision = place.rpartition("@")[2] if "@" in place else ""
    ends = (name, revision, (checkpoint.file or "").partition(".")[0], Path(place).name)
    return next((int(found[-1]) for text in ends if (found := STEP.findall(text))), None)


def open_checkpoint(argument: str, client: Client) -> Opened:
    """Read where a checkpoint's projections and norms are.

    Raises:
        UserError: if it can't be read.
    """
    checkpoint = resolve(argument, client)
    tensors, config = Tensors(checkpoint), _config(checkpoint.folder)
    return Opened(
        split_argument(argument)[1], step_of(argument, checkpoint), config, tensors, Read(tensors.files, config)
    )


def open_series(arguments: Iterable[str | Path], client: Client) -> list[tuple[int, Opened]]:
    """The checkpoints of a training by step; where one does not tell its step, in the order given, counted.

    Raises:
        UserError: if one can't be read, there is none, or two are of one step.
    """
    opened = [open_checkpoint(str(argument), client) for argument in arguments]
    if not opened:
        raise UserError("no checkpoint was given")
    if any(one.step is None for one in opened):
        return list(enumerate(opened))
    series = sorted(((one.step or 0, one) for one in opened), key=lambda item: item[0])
    for (step, one), (following, other) in pairwise(series):
        if step == following:
            raise UserError(f"{one.name} and {other.name}: both of step {step}; give the checkpoints of one training")
    return series


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
