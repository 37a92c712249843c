"""Which tensors of a checkpoint are LayerNorm parameters, and where they sit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

FINAL = -1
_GPT2 = re.compile(r"(?:transformer\.)?(?:h\.(?P<block>\d+)\.(?P<norm>ln_[12])|(?P<final>ln_f))\.(?P<kind>weight|bias)")


class Norm(NamedTuple):
    """Where a LayerNorm parameter sits: block (-1: after the last), norm (`ln_1`, `ln_2`, `ln_f`), gamma or beta."""

    block: int
    norm: str
    kind: str


def find(names: list[str]) -> Iterator[tuple[Norm, str]]:
    """The LayerNorm parameters among tensor names (GPT-2's naming, with or without `transformer.`), in model order."""
    found = []
    for name in names:
        match = _GPT2.fullmatch(name)
        if match:
            kind = "gamma" if match["kind"] == "weight" else "beta"
            block = FINAL if match["final"] else int(match["block"])
            found.append((Norm(block, match["norm"] or "ln_f", kind), name))
    yield from sorted(found, key=lambda entry: (entry[0].block == FINAL, entry[0].block, entry[0].norm, entry[0].kind))
