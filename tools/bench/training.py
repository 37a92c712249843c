"""Time whole training steps of one variant in this process, and print their row of the table.

A variant is named WHOSE-PRECISION.

example: python -m tools.bench.training ours-fp32 small 100
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from goldilocks.core import arithmetic, system_info

if TYPE_CHECKING:
    from torch import Tensor

    Step = Callable[[Tensor], float]

VARIANTS = ("ours-portable", "ours-fp32", "ours-bf16", "transformers-fp32", "transformers-bf16")
LEARNING_RATE, WEIGHT_DECAY, LINEAR_STD = 1e-3, 0.01, 0.02
SIDE = 2048  # of the matrices whose products' rate is measured


class Size(NamedTuple):
    """A Model 5, its batch, and how it is measured.

    Args:
        steps: that are timed, after some to warm up.
    """

    blocks: int
    width: int
    heads: int
    context_length: int
    batch_size: int
    vocabulary: int
    steps: int
    warm_up: int

    @property
    def tokens(self) -> int:
        """Tokens in a batch."""
        return self.batch_size * self.context_length

    @property
    def products(self) -> int:
        """FLOPs of a step's matrix products, which are twice as many backward as forward (Kaplan et al. 2020).

        Forward a token takes 2 for each weight, and 4 · context · width in each block for QKᵀ and for softmax times V.
        """
        weights = self.width * (self.vocabulary + self.blocks * 12 * self.width)
        attention = self.blocks * 2 * self.context_length * self.width
        return 6 * (weights + attention) * self.tokens


SIZES = {
    "small": Size(6, 128, 4, 64, 6, 4096, steps=100, warm_up=10),
    "articles": Size(12, 768, 12, 256, 16, 50257, steps=5, warm_up=1),
}


def ours(size: Size, precision: str, threads: int) -> Step:
    """A training step of Model 5, with the stage's deterministic algorithms and its use of memory."""
    from goldilocks.model5 import hardware, initialisation, training
    from goldilocks.model5.model import Model5, Shape

    hardware.flush_denormals()
    hardware.prepare(threads)
    model = Model5(Shape(size.vocabulary, size.context_length, size.width, size.heads, size.blocks))
    initialisation.initialise(model, LINEAR_STD, 0)
    objective = training.Objective(model, "bf16" if precision == "bf16" else "fp32")
    trainer = training.Trainer(objective, LEARNING_RATE, WEIGHT_DECAY)

    def step(windows: Tensor) -> float:
        loss = trainer.gradient(windows)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        return loss

    return step


def transformers(size: Size, precision: str, threads: int) -> Step:
    """A training step of transformers' GPT-2, which computes its own loss, under autocast if bf16.

    With exact GELU as in Model 5 (its own default approximates it, in several slower operations), without dropout and
    without the cache of keys and values, as its Trainer has it.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(threads)
    config = GPT2Config(
        vocab_size=size.vocabulary, n_positions=size.context_length, n_embd=size.width, n_layer=size.blocks,
        n_head=size.heads, activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train()
    model.loss_type = "ForCausalLM"  # the one it takes anyway, with a warning
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def step(windows: Tensor) -> float:
        tokens = windows[:, :-1]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss: Tensor = model(tokens, labels=tokens).loss
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def has_bf16() -> bool:
    """Whether this processor has instructions for bfloat16; without them it takes tens of times as long."""
    import torch

    return any(there is True for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16"))


def product_rate(precision: str) -> float:
    """Median rate of matrix products in FLOP/s: torch's, or NumPy's, which portable arithmetic uses."""
    import numpy as np
    import torch

    a = torch.ones(SIDE, SIDE, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        np.matmul(a.numpy(), a.numpy()) if precision == "portable" else torch.mm(a, a)
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / median(seconds[1:])


def measure(variant: str, size: Size, steps: int, threads: int) -> tuple[list[float], float]:
    """The seconds of each step after the warm-up, on random tokens of its own, and the rate of products meanwhile.

    Without bf16 there are no steps.
    """
    whose, precision = variant.split("-")
    step = {"ours": ours, "transformers": transformers}[whose](size, precision, threads)
    import torch

    if precision == "bf16" and not has_bf16():
        return [], 0.0
    generator, seconds, rates = torch.Generator().manual_seed(0), [], [product_rate(precision)]
    for _ in range(size.warm_up + steps):
        windows = torch.randint(0, size.vocabulary, (size.batch_size, size.context_length + 1), generator=generator)
        start = time.perf_counter()
        step(windows)
        seconds.append(time.perf_counter() - start)
    rates.append(product_rate(precision))
    return seconds[size.warm_up :], sum(rates) / 2


def row(variant: str, size: Size, seconds: Sequence[float], rate: float, memory: int) -> str:
    """A row of the table.

    Args:
        rate: of matrix products, in FLOP/s.
        memory: in bytes.
    """
    if not seconds:
        return f"{variant:<20}skipped: this processor has no bfloat16 instructions"
    step = median(seconds)
    digits = 2 if step > 0.1 else 4
    low, middle, high = (f"{value:.{digits}f}" for value in (min(seconds), step, max(seconds)))
    return (
        f"{variant:<20}{middle:>8} s {f'({low}-{high})':<18}{memory / 1e9:>6.2f} GB  "
        f"{size.tokens / step:,.0f} tokens/s, {size.products / step / rate:.0%} of {rate / 1e9:.0f} GFLOP/s"
    )


def main() -> None:
    variant, name, steps = sys.argv[1:]
    portable = variant == "ours-portable"
    if not portable:
        arithmetic.restart_native()
    seconds, rate = measure(variant, SIZES[name], int(steps), 1 if portable else system_info.cores())
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(row(variant, SIZES[name], seconds, rate, peak), flush=True)


if __name__ == "__main__":
    main()
