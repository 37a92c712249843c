"""The memory that trainings take, and the memory that is free."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil

CGROUP = Path("/sys/fs/cgroup")
FLOAT = 4  # bytes
STATE = 4 * FLOAT  # bytes of a parameter: weight, gradient, and AdamW's two moments
ACTIVATIONS = 18  # numbers that a token leaves in a block for the backward pass, as a multiple of the width; measured
LOGITS = 2**25  # of the head's logits, at once at most (`model5.loss`)
BASE = 450e6  # bytes that any training takes, and DVC beside it: Python, torch, pandas; measured


class Training(NamedTuple):
    """What the memory of a training depends on."""

    vocabulary: int
    context_length: int
    width: int
    blocks: int
    batch_size: int
    accumulate: int = 1
    processes: int = 1

    @property
    def parameters(self) -> int:
        """As `model5.model.Shape` counts them, without torch."""
        d = self.width
        return (self.vocabulary + self.context_length + 2) * d + self.blocks * (12 * d**2 + 13 * d)

    @property
    def memory(self) -> float:
        """An estimate of the bytes that all of its processes take together."""
        tokens = self.batch_size * self.context_length / (self.accumulate * self.processes)
        logits = min(LOGITS, tokens * self.vocabulary) + self.vocabulary * self.width
        activations = tokens * ACTIVATIONS * self.width * self.blocks
        return self.processes * (BASE + STATE * self.parameters + FLOAT * (logits + activations))


def _number(path: Path) -> float:
    """The number in a system file; infinite if there is none, or "max"."""
    try:
        return float(path.read_text("ascii").strip().replace("max", "inf"))
    except (OSError, ValueError):
        return float("inf")


def free_memory(cgroup: Path = CGROUP) -> float:
    """Bytes that processes can still take: of the machine, and of a container with a limit of its own."""
    limit, taken = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    left = limit - taken if limit < float("inf") else limit
    return min(float(psutil.virtual_memory().available), left)
