"""Both looks at a model while it trains, every so many steps, as Parquet; the training is not touched.

    watch = Watch(model, every=50, folder="watch", probe=tokens)
    for batch in batches:
        ...
        watch.step()

writes `watch/weights/step-000050.parquet` and `watch/attention/step-000050.parquet`, so that
`pandas.read_parquet("watch/weights")` is the whole series. No random number is drawn, no gradient touched, and no
failure of a look ends the training.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from goldilocks.core import arrays
from goldilocks.core.cli import UserError
from goldilocks.model5.model import Model5
from goldilocks.models import parquet
from goldilocks.models.attention import attention
from goldilocks.models.norms import Read
from goldilocks.models.projections import Weight, arrange, block_of, find
from goldilocks.models.weights import frame_of
from goldilocks.models.windows import LEAST, TOGETHER, describe_model, unwrapped
from goldilocks.softmax.zone import INSIDE

EVERY = 100
TOLD = 3  # heads that a warning names


class Watch:
    """Looks at a model before its first step, and then every so many.

    Args:
        model: of transformers, or a Model 5; may be wrapped by DistributedDataParallel or `torch.compile`.
        every: steps between looks.
        folder: where the tables go.
        probe: the tokens (B, T) on which attention is looked at; by default the first it gets, up to 8 rows.
        start: steps done before, of a training that goes on; what the first look found is then read from the folder.

    Raises:
        UserError: if the model has no projections of Q, K and V that are known here, its attention can't be looked at
            on the given probe, or the folder holds another training's tables.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = EVERY,
        folder: str | Path = "watch",
        probe: Tensor | None = None,
        start: int = 0,
    ) -> None:
        if every < 1:
            raise UserError(f"every {every} steps: must be 1 or more")
        self.model, self.every, self.folder = unwrapped(model), every, Path(folder)
        self.probe, self.steps = probe, start
        self.zones: dict[tuple[str, int], str] = {}
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.writes = not together or torch.distributed.get_rank() == 0
        if not self.writes:
            return
        config: Any = getattr(self.model, "config", None)
        self.config: dict[str, Any] | None = config.to_dict() if hasattr(config, "to_dict") else None
        if isinstance(self.model, Model5):
            self.config = {"num_attention_heads": self.model.shape.heads}
        self.parameters = dict(self.model.named_parameters())
        self.projections, self.norms = find(self.parameters), Read(self.parameters, self.config)
        if not self.projections:
            raise UserError(f"{describe_model(self.model)}: no projections of Q, K and V known here")
        now = list(self._weights_now())
        if probe is not None:
            attention(self.model, None, probe)  # fails now, or never
        self._begin(start)
        self.first = self._first(now, start)
        if probe is None:
            self._hook = self.model.register_forward_pre_hook(self._take_probe, with_kwargs=True)
        if not start:
            self.look(0)

    def _values(self, name: str) -> np.ndarray:
        found: np.ndarray = self.parameters[name].detach().float().cpu().numpy()
        return found

    def _weights_now(self) -> Iterator[Weight]:
        return (arrange(one, [self._values(name) for name in one.names], self.config) for one in self.projections)

    def _begin(self, start: int) -> None:
        """Refuse to mix two trainings' tables; of a training that goes on, drop what came after its start."""
        for file in sorted(self.folder.glob("*/step-*.parquet")):
            if not start:
                raise UserError(
                    f"{self.folder}: holds a training's tables; name another folder, or say with start= after how many "
                    "steps it goes on"
                )
            if int(file.stem.removeprefix("step-")) > start:
                file.unlink()

    def _first(self, now: list[Weight], start: int) -> list[Weight]:
        """What Q, K and V were at first: now, or of a training that goes on what was stored at its start."""
        path = self.folder / "first.safetensors"
        by_module = {one.module: weight.rows.copy() for one, weight in zip(self.projections, now, strict=True)}
        if not (start and path.is_file()):
            arrays.write(path, by_module)
        stored = arrays.read(path)
        shapes, expected = ({module: rows.shape for module, rows in of.items()} for of in (stored, by_module))
        if shapes != expected:
            raise UserError(f"{path}: of another model; name another folder")
        return [weight._replace(rows=stored[one.module]) for one, weight in zip(self.projections, now, strict=True)]

    def _take_probe(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the first tokens that the model gets."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(ids, Tensor) and ids.ndim == 2 and ids.shape[1] >= LEAST and not ids.is_floating_point():
            self.probe = ids[:TOGETHER].detach().cpu().clone()
            self._hook.remove()

    def step(self) -> None:
        """Call this after each update."""
        self.at(self.steps + 1)

    def at(self, step: int) -> None:
        """The model has had so many updates: look at it, if it is time to."""
        self.steps = step
        if self.writes and step % self.every == 0:
            self.look(step)

    def look(self, step: int) -> None:
        """Write what Q, K and V, and on the probe attention, are now; say which heads left the zone."""
        try:
            self._write("weights", step, self.weights())
            if self.probe is not None:
                heads = attention(self.model, None, self.probe)
                self._write("attention", step, heads.assign(step=step))
                self._tell(step, heads)
        except OSError as error:  # a full disk ends no training
            print(f"goldilocks: step {step}: {error}; not written", file=sys.stderr)
        except (UserError, RuntimeError, TypeError, ValueError) as error:  # it can't read the tokens it got
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            print(f"goldilocks: step {step}: attention is not looked at any more: {reason}", file=sys.stderr)
            self.probe = None

    def weights(self) -> pd.DataFrame:
        """The statistics of Q, K and V now."""
        frames = []
        for projection, weight, first in zip(self.projections, self._weights_now(), self.first, strict=True):
            norm = self.norms.columns({name: self._values(name) for name in self.norms.of(projection)})
            frames.append(frame_of(projection, weight, first).assign(**norm))
        return pd.concat(frames, ignore_index=True).assign(step=self.steps)

    def _write(self, table: str, step: int, frame: pd.DataFrame) -> None:
        parquet.write(self.folder / table / f"step-{step:06d}.parquet", table, frame, {"every": self.every})

    def _tell(self, step: int, heads: pd.DataFrame) -> None:
        """Name the heads that were in the zone at the last look and are not any more."""
        now = {(head["module"], head["head"]): head["zone"] for head in heads.to_dict("records")}
        left = [key for key, zone in now.items() if self.zones.get(key) == INSIDE != zone]
        self.zones = now
        if left:
            named = ", ".join(f"block {block_of(key[0])} head {key[1]} {now[key]}" for key in left[:TOLD])
            more = f" and {len(left) - TOLD} more" if len(left) > TOLD else ""
            print(f"goldilocks: step {step}: left the zone: {named}{more}", file=sys.stderr)
