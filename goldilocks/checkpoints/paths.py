"""Split a tensor's name into a stack of blocks, a block, and what it is called there."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

# torch.compile, DistributedDataParallel, Lightning, FSDP and activation checkpointing add these, at any depth.
TRANSPARENT = re.compile(
    r"(?<![^.])(?:_orig_mod|module|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
INDEX = re.compile(r"0|[1-9][0-9]{0,3}")
COMMON = {"model", "transformer", "layers", "layer", "blocks", "block", "h"}
"""Parts of names that say nothing about what is in a stack of blocks."""


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

    def varying(path: Path) -> tuple[str, ...]:
        inner = range(1, len(path.rest) - 1)
        gone = {i for i in inner if path.rest[i].isdecimal() and len(seen[path.stack, path.rest[:i]]) == 1}
        return tuple(part for i, part in enumerate(path.rest) if not {i, i + 1} & gone)

    return {name: path._replace(rest=varying(path)) for name, path in paths.items()}


class Label(NamedTuple):
    """What tells a stack of blocks from the others, and the first part of its name that does."""

    text: str
    part: str


def labels(stacks: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], Label]:
    """A label for each stack: "decoder", "vision"; empty if its name has nothing that others have not."""
    shared = COMMON.union(set.intersection(*map(set, stacks)) if stacks else ())
    apart = {stack: [part for part in stack if part not in shared] for stack in stacks}
    firsts = Counter("".join(parts[:1]) for parts in apart.values())
    by_stack = {}
    for stack, parts in apart.items():
        first = "".join(parts[:1])
        chosen = parts[:1] if firsts[first] == 1 else parts
        text = " ".join(re.sub(r"_(?:model|tower)$", "", part).replace("_", " ") for part in chosen)
        by_stack[stack] = Label(text, first)
    return by_stack
