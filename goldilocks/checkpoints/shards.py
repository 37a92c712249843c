"""Checkpoints in several files, with an index that maps tensors to files, or without one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any

from goldilocks.checkpoints.families import Norm
from goldilocks.checkpoints.ranges import refuse_lfs_pointer
from goldilocks.core.cli import UserError

SAFETENSORS = ".safetensors"
MAX_FILES = 2**12  # of an index; the largest checkpoints have some 200
SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")  # names of the number of blocks in config.json


def read_index(text: bytes, where: str) -> dict[str, str]:
    """The file of each tensor of a sharded checkpoint.

    Raises:
        UserError: if the index is damaged, too long, or leads out of its folder.
    """
    refuse_lfs_pointer(text, where)
    try:
        files = json.loads(text)["weight_map"]
        good = isinstance(files, dict) and files and all(isinstance(file, str) for file in files.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise UserError(f"{where}: not an index of safetensors files (no weight_map from names to files)")
    if len(set(files.values())) > MAX_FILES:
        raise UserError(f"{where}: points to {len(set(files.values())):,} files, more than the {MAX_FILES:,} allowed")
    for file in set(files.values()):
        parts = PurePosixPath(file).parts
        if ".." in parts or PurePosixPath(file).is_absolute() or not parts or set(file) & set("\\:?#\0"):
            raise UserError(f"{where}: points to {file!r:.80}, outside of its folder")
        if not file.endswith(SAFETENSORS):
            raise UserError(f"{where}: points to {file!r:.80}, which is no safetensors file")
    found: dict[str, str] = files
    return found


def total_of(names: Collection[str]) -> int | None:
    """How many shards the set has that these files belong to, by model-00002-of-00003.safetensors; None without one."""
    sets = {(match["stem"], int(match["total"])) if (match := SHARD.fullmatch(name)) else None for name in names}
    only = sets.pop() if len(sets) == 1 else None
    return only[1] if only else None


def number_of_blocks(config: dict[str, Any] | None) -> int | None:
    """The number of blocks in config.json; None if it has none."""
    config = config or {}
    text = config.get("text_config")  # of a model for images or sound, too
    for holder in (config, text if isinstance(text, dict) else {}):
        for key in DEPTHS:
            if type(number := holder.get(key)) is int and 0 < number < 10_000:
                return number
    return None


def ranges_of(numbers: Iterable[int]) -> str:
    """Ascending numbers in words: "0-3, 7"."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def missing_norms(norms: Collection[Norm], depth: int | None) -> str:
    """Which norms of a model are not among these, in words; empty if none is known to be missing.

    Args:
        depth: how many blocks the model has, if that is known.
    """
    found = {(norm.block, norm.place, norm.kind) for norm in norms if norm.block >= 0}
    of_a_block = {(place, kind) for _, place, kind in found}
    last = max((block for block, _, _ in found), default=-1)
    blocks = [
        block
        for block in range(max(depth or 0, last + 1))
        if not found or any((block, *parameter) not in found for parameter in of_a_block)
    ]
    missing = [f"block{'s' if blocks[1:] else ''} {ranges_of(blocks)}"] if blocks else []
    if depth is None:
        missing.append(f"any after block {last}" if found else "any block")
    if all(norm.block >= 0 for norm in norms):
        missing.append("any outside of blocks")
    return ", ".join(missing)
