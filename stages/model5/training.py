"""The training loop of Model 5, and nothing else: what it records it hands to the caller's tables.

A measurement at step s is of the weights after s updates: step 0 is the untouched model, and batch s is the one that
the update s + 1 is made from. Which windows a batch holds is a pure function of (root seed, seed, step).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from stages.common import streams
from stages.common.cli import UserError
from stages.model5.model import Model5

DIVERGED = "training diverged: lower train.learning_rate or train.linear_std"


def batch(tokens: np.ndarray, size: int, context_length: int, stream: np.random.Generator) -> Tensor:
    """`size` windows of context_length + 1 tokens at random starts: (size, context_length + 1) int64."""
    starts = stream.integers(0, tokens.size - context_length, size)
    windows = tokens[starts[:, None] + np.arange(context_length + 1)]
    return torch.from_numpy(windows.astype(np.int64))


def batch_stream(root_seed: int, seed: int, step: int) -> np.random.Generator:
    """The random stream of one batch of one training run."""
    return streams.generator(root_seed, "train/batch", seed, step)


@torch.no_grad()
def mean_loss(model: Model5, windows: Tensor, size: int) -> float:
    """Mean cross-entropy in nats/token over windows (N, T + 1), `size` of them at a time."""
    parts = [windows[start : start + size] for start in range(0, len(windows), size)]
    return math.fsum(float(model.loss(part)) * len(part) for part in parts) / len(windows)


def optimizer(model: Model5, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW over every parameter (Loshchilov & Hutter 2019), without schedule, in its fused form."""
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)


def train(
    model: Model5,
    optimizer: torch.optim.Optimizer,
    batches: Callable[[int], Tensor],
    steps: int,
    observe: Callable[[int], None],
) -> Iterator[float]:
    """Yield the training loss at steps 0 … steps - 1, each before the update made from it.

    `observe(step)` is called before anything else happens at a step.

    Raises:
        UserError: if the loss is no longer finite.
    """
    last = math.nan
    for step in range(steps):
        observe(step)
        loss = model.loss(batches(step))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"training: the loss became {value} at step {step} (the last finite one was {last:.4g}); {DIVERGED}"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        last = value
        yield value


def with_progress(losses: Iterator[float], steps: int, tokens: int, label: str) -> Iterator[float]:
    """Pass losses on, showing loss and tokens/s: a bar on a terminal, else a line every ten seconds or so."""
    bar = tqdm(total=steps, desc=label, unit="step", disable=None, leave=False)
    start = shown = time.monotonic()
    for step, loss in enumerate(losses):
        now = time.monotonic()
        rate = (step + 1) * tokens / max(now - start, 1e-9)
        bar.set_postfix_str(f"loss {loss:.3f}, {rate:,.0f} tokens/s", refresh=False)
        bar.update()
        if bar.disable and (now - shown > 10 or step + 1 == steps):
            print(f"{label}: step {step + 1}/{steps}, loss {loss:.3f}, {rate:,.0f} tokens/s", file=sys.stderr)
            shown = now
        yield loss
    bar.close()


@torch.no_grad()
def sample(model: Model5, prompt: list[int], length: int, seed: int) -> list[int]:
    """The prompt's ids followed by `length` ids drawn from the model at temperature 1.

    Raises:
        UserError: if the model's logits are not finite, as after an update that diverged.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor([prompt])
    for _ in range(length):
        logits = model(ids[:, -model.shape.context_length :])[:, -1]
        if not logits.isfinite().all():
            raise UserError(f"training: the model's logits are not finite; {DIVERGED}")
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1, generator=generator)], dim=1)
    result: list[int] = ids[0].tolist()
    return result


def torch_seed(root_seed: int, purpose: str, seed: int) -> int:
    """The seed of a torch generator for one purpose of one training run."""
    return streams.integer_seed(root_seed, f"train/{purpose}", seed)
