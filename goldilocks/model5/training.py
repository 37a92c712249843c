"""The training loop of Model 5, which calls a watcher at every step.

A measurement at step s is of the weights after s updates: step 0 is the untrained model. Batch s makes update s + 1.
The windows of a batch are a pure function of (root seed, seed, step).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from goldilocks.core import rng
from goldilocks.core.cli import UserError
from goldilocks.core.progress import Progress
from goldilocks.model5.adamw import AdamW
from goldilocks.model5.distributed import World
from goldilocks.model5.model import Model5


class DivergedError(UserError):
    """A value is no longer finite.

    Args:
        problem: what, and where.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"training: {problem}; training diverged: lower train.learning_rate or train.linear_std")


def batch(tokens: np.ndarray, size: int, context_length: int, stream: np.random.Generator) -> Tensor:
    """`size` windows of context_length + 1 tokens at random starts: (size, context_length + 1) int64."""
    starts = stream.integers(0, tokens.size - context_length, size)
    windows = tokens[starts[:, None] + np.arange(context_length + 1)]
    return torch.from_numpy(windows.astype(np.int64))


def batches(tokens: np.ndarray, size: int, context_length: int, root_seed: int, seed: int) -> Callable[[int], Tensor]:
    """A function from a step to its windows (size, context_length + 1), which depend on the arguments alone."""
    return lambda step: batch(tokens, size, context_length, rng.generator(root_seed, "train/batch", seed, step))


class Objective(nn.Module):
    """The loss of a model, computed in a given precision: windows (B, T + 1) to a scalar."""

    def __init__(self, model: Model5, precision: str = "fp32") -> None:
        super().__init__()
        self.model = model
        self.low = precision != "fp32"

    def forward(self, windows: Tensor) -> Tensor:
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.low):
            return self.model.loss(windows)


@torch.no_grad()
def mean_loss(objective: Objective, windows: Tensor, size: int) -> float:
    """Mean cross-entropy in nats/token over windows (N, T + 1), `size` of them at a time."""
    parts = torch.split(windows, size)
    return math.fsum(float(objective(part)) * len(part) for part in parts) / len(windows)


class Trainer:
    """Trains all parameters of a model with AdamW (Loshchilov & Hutter 2019) at a constant rate.

    Args:
        accumulate: number of parts that each batch is split into, which are computed one after another.
        compiled: whether torch.compile makes the objective faster first.
    """

    def __init__(
        self,
        objective: Objective,
        learning_rate: float,
        weight_decay: float,
        accumulate: int = 1,
        compiled: bool = False,
        world: World | None = None,
    ) -> None:
        self.model = objective.model
        self.objective = objective
        self.accumulate = accumulate
        self.world = world or World()
        self.optimizer = AdamW(self.model.parameters(), learning_rate, weight_decay)
        if compiled:
            torch.use_deterministic_algorithms(True)  # the compiler's, too
            objective.compile()
        self._whole = self.world.wrapped(objective)

    def gradient(self, windows: Tensor) -> float:
        """Put the gradient of the global batch (B, T + 1) into the parameters; returns its mean loss."""
        mine = self.world.share(windows).to(self.model.wte.weight.device)
        parts = mine.tensor_split(self.accumulate)
        total = torch.zeros((), dtype=torch.float64, device=mine.device)
        for part in parts:
            with self.world.summing_only(self._whole, more_to_come=part is not parts[-1]):
                loss = self._whole(part) / len(parts)
                loss.backward()
            total += loss.detach()
        return self.world.mean(total)

    def state(self) -> dict[str, Tensor]:
        """Parameters and AdamW's moments by name, not copied."""
        names = [name for name, _ in self.model.named_parameters()]
        found = {"parameter": self.optimizer.parameters, "mean": self.optimizer.means, "square": self.optimizer.squares}
        return {
            f"{what}.{name}": tensor.detach()
            for what, tensors in found.items()
            for name, tensor in zip(names, tensors, strict=True)
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Restore what `state` returned after `step` updates; rank 0's tensors go to all processes.

        Raises:
            KeyError: if a name is missing.
        """
        for name, target in self.state().items():
            if self.world.writes:
                target.copy_(tensors[name])
            self.world.broadcast(target)
        for updates in self.optimizer.steps:
            updates.fill_(step)


class Watcher(Protocol):
    """Observes a training at every step."""

    def before(self, step: int) -> None:
        """Called after `step` updates, before the next gradient."""

    def after(self, step: int) -> None:
        """Called after the update with that gradient, which is still there."""


def train(
    trainer: Trainer,
    batches: Callable[[int], Tensor],
    first: int,
    steps: int,
    watcher: Watcher | None = None,
    label: str = "",
    last: float = math.nan,
) -> Iterator[float]:
    """Yield the training loss at steps first … steps - 1, each measured before its update.

    Args:
        label: what to show progress as, with the loss and tokens/s; nothing is shown without one.
        last: the loss at the step before the first, if there was one.

    Raises:
        DivergedError: if the loss is no longer finite.
    """
    start, tokens = time.monotonic(), 0
    with Progress(label, steps, "step", first) if label else nullcontext() as progress:
        for step in range(first, steps):
            if watcher:
                watcher.before(step)
            windows = batches(step)
            loss = trainer.gradient(windows)
            if not math.isfinite(loss):
                before = "the first one" if math.isnan(last) else f"the last finite one was {last:.4g}"
                raise DivergedError(f"the loss became {loss} at step {step} ({before})")
            trainer.optimizer.step()
            if watcher:
                watcher.after(step)
            trainer.optimizer.zero_grad()
            last = loss
            tokens += windows[:, 1:].numel()
            if progress:
                rate = tokens / max(time.monotonic() - start, 1e-9)
                progress.add(1, f"loss {loss:.3f}, {rate:,.0f} tokens/s")
            yield loss


@torch.no_grad()
def sample(model: Model5, prompt: list[int], length: int, stream: np.random.Generator) -> list[int]:
    """The prompt's ids followed by `length` ids drawn from the model at temperature 1.

    Raises:
        DivergedError: if the model's logits are not finite, as after an update that diverged.
    """
    ids = list(prompt)
    for _ in range(length):
        seen = torch.tensor([ids[-model.shape.context_length :]], device=model.wte.weight.device)
        logits = model.logits(model.states(seen)[:, -1]).squeeze(0).cpu()
        if not logits.isfinite().all():
            raise DivergedError("the model's logits are not finite")
        cumulative = logits.double().softmax(-1).numpy().cumsum()
        drawn = cumulative.searchsorted(stream.random() * cumulative[-1], "right")
        ids.append(min(int(drawn), cumulative.size - 1))  # the product may round up to the total
    return ids
