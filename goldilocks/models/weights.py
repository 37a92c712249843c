"""How Q, K and V move over anyone's training: the statistics of Model 5's snapshots, of a series of checkpoints.

Of each checkpoint only the header and the bytes of the attention's projections are read, one module after another, so
that memory holds two modules' weights whatever the model's size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from goldilocks.checkpoints.client import Client, RefusedError
from goldilocks.checkpoints.extract import STORED, File, decode, main_files, open_first, open_shard, read_tensors
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import MissingError, Tally
from goldilocks.checkpoints.resolve import Checkpoint, resolve, split_argument
from goldilocks.core.cli import UserError
from goldilocks.model5.weight_stats import ALL_HEADS, members, moments, weight_statistics
from goldilocks.models.projections import Projection, Weight, arrange, find

if TYPE_CHECKING:
    import pandas as pd

TAIL_SIGMAS = 3.0  # of the first checkpoint; params.yaml's train.tail_sigmas
STEP = re.compile(r"(?:step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?0*(\d+)", re.IGNORECASE)


class Opened(NamedTuple):
    """A checkpoint whose headers were read: where each tensor is."""

    name: str
    step: int | None
    config: dict[str, Any] | None
    files: Mapping[str, File]

    def weight(self, projection: Projection) -> Weight:
        """The values of a projection."""
        for name in projection.names:
            if name not in self.files:
                raise UserError(f"{self.name}: no {name} in it, which the first checkpoint has")
            if (stored := self.files[name].places[name].dtype) not in STORED:
                raise UserError(f"{self.name}: {name} is stored as {stored}; only {', '.join(STORED)} are read")
        contents = read_tensors(projection.names, self.files)
        tensors = []
        for name in projection.names:
            place = self.files[name].places[name]
            values = decode(np.frombuffer(contents[name], STORED[place.dtype]), place.dtype)
            tensors.append(values.reshape(place.shape))
        try:
            return arrange(projection, tensors, self.config)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None


class Baseline(NamedTuple):
    """A projection's weights at the first checkpoint, which later ones are compared with."""

    weight: Weight
    std: np.ndarray
    tail: float

    @classmethod
    def of(cls, weight: Weight, tail_sigmas: float) -> Baseline:
        """With a tail beyond so many standard deviations."""
        std = moments(weight.rows.astype(np.float64).reshape(sum(weight.heads), -1), weight.heads)["std"]
        return cls(weight, std, tail_sigmas * float(std[-1]))

    def frame(self, projection: Projection, weight: Weight) -> pd.DataFrame:
        """The statistics of the weights now, a row for each head, part and all."""
        import pandas as pd

        found = weight_statistics(weight.rows, self.weight.rows, weight.heads, self.tail)
        growth = np.divide(found["std"], self.std, out=np.ones_like(self.std), where=self.std != 0)
        parts, heads = zip(*members(weight.heads), strict=True)
        place = {"module": projection.module, "block": projection.block, "part": parts, "head": heads}
        frame = pd.DataFrame(place | found | {"growth": growth})
        return frame if weight.by_head else frame[frame["head"] == ALL_HEADS]


def _object(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    """A JSON object beside a checkpoint's tensors, if there is one."""
    try:
        found = json.loads(checkpoint.folder.text(name))
    except (MissingError, RefusedError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


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
    """Read where a checkpoint's projections are.

    Raises:
        UserError: if it can't be read.
    """
    checkpoint = resolve(argument, client)
    listed, opened = open_first(checkpoint, main_files(checkpoint))
    wanted = {name for one in find(listed) for name in one.names}
    for file in sorted({listed[name] for name in wanted} - set(opened)):
        opened[file] = open_shard(checkpoint.folder.source(file), wanted)
    files = {name: opened[listed[name]] for name in wanted if name in opened[listed[name]].places}
    return Opened(split_argument(argument)[1], step_of(argument, checkpoint), _config(checkpoint), files)


def in_order(checkpoints: list[Opened]) -> list[tuple[int, Opened]]:
    """Checkpoints by step; where one does not tell its step, in the order given, counted.

    Raises:
        UserError: if two are of one step.
    """
    steps = [one.step for one in checkpoints]
    if any(step is None for step in steps):
        return list(enumerate(checkpoints))
    found = sorted(((one.step or 0, one) for one in checkpoints), key=lambda item: item[0])
    for (step, one), (following, other) in pairwise(found):
        if step == following:
            raise UserError(f"{one.name} and {other.name}: both of step {step}; give the checkpoints of one training")
    return found


def weights(
    checkpoints: Iterable[str | Path], *, tail_sigmas: float = TAIL_SIGMAS, client: Client | None = None
) -> pd.DataFrame:
    """The statistics of Q, K and V, by module, part and head, over a series of checkpoints of one training.

    Args:
        checkpoints: paths, addresses or repositories, as `goldilocks norms` takes them.
        tail_sigmas: a weight beyond so many standard deviations of the first checkpoint is in the tail.

    Raises:
        UserError: if one can't be read, or has no such weights.
    """
    import pandas as pd

    client = client or Client(Tally())
    series = in_order([open_checkpoint(str(argument), client) for argument in checkpoints])
    if not series:
        raise UserError("no checkpoint was given")
    _, first = series[0]
    projections = find(first.files)
    if not projections:
        raise UserError(f"{first.name}: no projections of Q, K and V known here")
    frames = []
    for projection in projections:
        initial = first.weight(projection)
        baseline = Baseline.of(initial, tail_sigmas)
        for step, one in series:
            weight = initial if one is first else one.weight(projection)
            if (weight.heads, weight.rows.shape) != (initial.heads, initial.rows.shape):
                raise UserError(f"{one.name}: {projection.names[0]} has another shape than in {first.name}")
            frame = baseline.frame(projection, weight)
            frame.insert(0, "checkpoint", one.name)
            frame.insert(1, "step", step)
            frames.append(frame)
    order = ["step", "block", "module"]
    return pd.concat(frames, ignore_index=True).sort_values(order, kind="stable", ignore_index=True)


def read_watched(folder: Path) -> pd.DataFrame:
    """The statistics that `goldilocks.Watch` wrote during a training.

    Raises:
        UserError: if there are none.
    """
    import pandas as pd

    files = sorted((folder / "weights").glob("step-*.parquet"))
    if not files:
        raise UserError(f"{folder}: no weights/step-*.parquet in it, which goldilocks.Watch writes")
    try:
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    except (OSError, ValueError) as error:  # Arrow's errors are of these
        raise UserError(f"{folder}: can't be read: {next(iter(str(error).splitlines()), '')}") from None
