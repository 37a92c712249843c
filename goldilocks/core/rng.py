"""Named random streams. Every draw of the project comes from one, and no stream depends on another.

A stream is named by its purpose and by indices (a dimension, a trial, a step), and seeded by NumPy's `SeedSequence`
from the root seed and that name. Adding a dimension, a trial or a stage therefore changes no other draw.
"""

from __future__ import annotations

import hashlib

import numpy as np


def sequence(root_seed: int, purpose: str, *index: int) -> np.random.SeedSequence:
    """The seed sequence of the stream `purpose`[index…] under `root_seed` (all non-negative)."""
    digest = hashlib.sha256(purpose.encode()).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.SeedSequence(root_seed, spawn_key=(*words, *index))


def generator(root_seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A NumPy generator on that stream. SFC64 is NumPy's fastest bit generator; naming it fixes the choice."""
    return np.random.Generator(np.random.SFC64(sequence(root_seed, purpose, *index)))


def integer_seed(root_seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed from that stream, for libraries that take one integer (torch on the CPU uses 32 bits of it)."""
    return int(sequence(root_seed, purpose, *index).generate_state(1, np.uint64)[0] >> np.uint64(1))
