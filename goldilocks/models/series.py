"""Checkpoints of a training in the order of their steps, with their projections of Q, K and V and the norms before.

Of each only the header and the bytes of what is asked for are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import CONFIG
from goldilocks.checkpoints.folders import Folder, LocalFolder
from goldilocks.checkpoints.ranges import Tally
from goldilocks.checkpoints.resolve import Checkpoint, resolve, split_argument
from goldilocks.checkpoints.tensors import Tensors, decode, read_object
from goldilocks.core.cli import UserError
from goldilocks.models.norms import Read
from goldilocks.models.projections import Projection, Weight, arrange

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
