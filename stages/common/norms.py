"""Which tensors of a checkpoint are LayerNorm parameters, and where they sit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.common import files
from stages.common.cli import UserError

FINAL = -1
LAST_BLOCK = 2**15 - 1  # what the tables' block column holds
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


def read(path: Path) -> Iterator[tuple[Norm, str, np.ndarray]]:
    """Every LayerNorm parameter of a safetensors file with its name, in model order; other tensors are not read.

    Raises:
        UserError: if the file is missing or damaged, holds no γ or no β, or one that is not a vector of finite
            floating-point numbers.
    """
    with files.open_tensors(path) as handle:
        found = list(find(list(handle.keys())))
        if {norm.kind for norm, _ in found} != {"gamma", "beta"}:
            raise UserError(f"{path}: no LayerNorm parameters (γ and β in GPT-2's naming) in it")
        for norm, name in found:
            try:
                values = handle.get_tensor(name)
            except (TypeError, AttributeError):
                stored = handle.get_slice(name).get_dtype()
                raise UserError(f"{path}: {name} is stored as {stored}; convert it to F32, F16 or F64") from None
            if values.ndim != 1 or not values.size or values.dtype.kind != "f" or norm.block > LAST_BLOCK:
                raise UserError(f"{path}: {name}: {values.dtype} of shape {values.shape} is no LayerNorm parameter")
            if not np.isfinite(values.astype(np.float32)).all():
                raise UserError(f"{path}: {name} holds values that are not finite float32 numbers")
            yield norm, name, values
