"""Checkpoints of a training in the order of their steps, with their projections of Q, K and V and the norms before.

Of each only the header and the bytes of what is asked for are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from goldilocks.checkpoints.client import Client, RefusedError
from goldilocks.checkpoints.extract import STORED, File, decode, main_files, open_file, open_first, read_tensors
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import MissingError, Tally
from goldilocks.checkpoints.resolve import Checkpoint, resolve, split_argument
from goldilocks.core.cli import UserError
from goldilocks.models.norms import Read
from goldilocks.models.projections import Projection, Weight, arrange, find

STEP = re.compile(r"(?:step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?0*(\d+)", re.IGNORECASE)


class Opened(NamedTuple):
    """A checkpoint whose headers were read: where each tensor is."""

    name: str
    step: int | None
    config: dict[str, Any] | None
    files: Mapping[str, File]
    norms: Read

    def look(self, projection: Projection) -> tuple[Weight, dict[str, float]]:
        """The values of a projection, and the columns of the norm before it.

        Raises:
            UserError: if they are not there, or are stored as nothing that is read here.
        """
        before = self.norms.of(projection)
        for name in (*projection.names, *before):
            if name not in self.files:
                raise UserError(f"{self.name}: no {name} in it, which the first checkpoint has")
            if (stored := self.files[name].places[name].dtype) not in STORED:
                raise UserError(f"{self.name}: {name} is stored as {stored}; only {', '.join(STORED)} are read")
        contents = read_tensors((*projection.names, *before), self.files)
        tensors = {name: self._values(name, contents[name]) for name in contents}
        try:
            weight = arrange(projection, [tensors[name] for name in projection.names], self.config)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        return weight, self.norms.columns({name: tensors[name] for name in before})

    def _values(self, name: str, contents: bytes) -> np.ndarray:
        place = self.files[name].places[name]
        return decode(np.frombuffer(contents, STORED[place.dtype]), place.dtype).reshape(place.shape)


def _object(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    """A JSON object beside a checkpoint's tensors, if there is one."""
    try:
        contents = json.loads(checkpoint.folder.text(name))
    except (MissingError, RefusedError, ValueError, RecursionError):
        return None
    return contents if isinstance(contents, dict) else None


def _config(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """config.json, for Model 5's own snapshots that of its export."""
    if found := _object(checkpoint, "config.json"):
        return found
    if isinstance(checkpoint.folder, LocalFolder) and checkpoint.folder.path.name == "qkv":
        beside = Checkpoint("", LocalFolder(checkpoint.folder.path.parent / "export", Tally()), None)
        found = _object(beside, "config.json")
        return {"num_attention_heads": found.get("n_head")} if found else None
    return None


def step_of(argument: str, checkpoint: Checkpoint) -> int | None:
    """After how many updates a checkpoint was taken: by `trainer_state.json`, else by its name or revision."""
    state = _object(checkpoint, "trainer_state.json") if checkpoint.file is None else None
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
    listed, opened = open_first(checkpoint, main_files(checkpoint))
    config = _config(checkpoint)
    projections, norms = find(listed), Read(listed, config)
    wanted = {name for one in projections for name in (*one.names, *norms.of(one))}
    for file in sorted({listed[name] for name in wanted} - set(opened)):
        opened[file] = open_file(checkpoint.folder.source(file))
    files = {name: opened[listed[name]] for name in wanted if name in opened[listed[name]].places}
    return Opened(split_argument(argument)[1], step_of(argument, checkpoint), config, files, norms)


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
