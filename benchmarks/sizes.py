"""At what sizes it is measured; nothing is imported here, so that every process can."""

from __future__ import annotations

from typing import NamedTuple

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
LINEAR_STD = 0.02
LAYERNORM_EPS = 1e-5


class Size(NamedTuple):
    """A Model 5, its batch, and how it is measured.

    Args:
        steps: timed steps of each variant, over all rounds.
        rounds: processes of each variant, one after another; an even number cancels a steady drift.
        warm_up: steps before them, in every process.
        gigabytes: what the hungriest variant needs.
    """

    name: str
    blocks: int
    width: int
    heads: int
    context_length: int
    batch_size: int
    vocabulary: int
    steps: int
    rounds: int
    warm_up: int
    gigabytes: float

    @property
    def tokens(self) -> int:
        """Tokens in a batch."""
        return self.batch_size * self.context_length

    @property
    def parameters(self) -> int:
        """Parameters, the tied head counted once: embeddings, blocks with biases and norms, the last norm."""
        embeddings = (self.vocabulary + self.context_length) * self.width
        return embeddings + self.blocks * (12 * self.width**2 + 13 * self.width) + 2 * self.width

    @property
    def flops(self) -> int:
        """Model FLOPs of a step: 2 a parameter and token forwards, twice that backwards (Kaplan et al. 2020)."""
        return 6 * self.parameters * self.tokens


SMALL = Size("small", 6, 128, 4, 64, 6, 4096, steps=200, rounds=4, warm_up=10, gigabytes=2.0)
ARTICLES = Size("articles", 12, 768, 12, 256, 16, 50257, steps=5, rounds=2, warm_up=1, gigabytes=9.0)
SIZES = {size.name: size for size in (SMALL, ARTICLES)}
