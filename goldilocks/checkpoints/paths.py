"""Names of modules and tensors as paths: the stack of blocks, the block, and what is in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

INDEX = re.compile(r"0|[1-9][0-9]{0,3}")


class Path(NamedTuple):
    """What stands before a block's index, the index (None: outside of blocks), and the rest."""

    stack: tuple[str, ...]
    block: int | None
    rest: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.rest)

    @property
    def numbers(self) -> list[int]:
        """The numbers in the rest, of blocks in blocks."""
        return [int(part) for part in self.rest if part.isdecimal()]


def split(name: str) -> Path | None:
    """The path of a module or tensor; None if its first number is none of a block."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    if at is None:
        return Path((), None, tuple(parts))
    if not INDEX.fullmatch(parts[at]):
        return None
    if at == len(parts) - 1:  # a list, with one member for each block
        return Path(tuple(parts[: at - 1]), int(parts[at]), tuple(parts[at - 1 : at]))
    return Path(tuple(parts[:at]), int(parts[at]), tuple(parts[at + 1 :]))


def without_constants(paths: Mapping[str, Path]) -> dict[str, Path]:
    """The paths without numbers that never vary, as in `albert_layers.0`, and without the words before these."""
    seen = defaultdict[tuple[Any, ...], set[str]](set)
    for path in paths.values():
        for i, part in enumerate(path.rest):
            if part.isdecimal():
                seen[path.stack, path.rest[:i]].add(part)

    varying = {}
    for module, path in paths.items():
        inner = range(1, len(path.rest) - 1)
        gone = {i for i in inner if path.rest[i].isdecimal() and len(seen[path.stack, path.rest[:i]]) == 1}
        varying[module] = path._replace(rest=tuple(part for i, part in enumerate(path.rest) if not {i, i + 1} & gone))
    return varying
