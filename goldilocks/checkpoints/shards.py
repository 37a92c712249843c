"""Checkpoints in several files, with an index that maps tensors to files, or without one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import PurePosixPath

from goldilocks.checkpoints.ranges import refuse_lfs_pointer
from goldilocks.core.cli import UserError

SAFETENSORS = ".safetensors"
MAX_FILES = 2**12  # of an index; the largest checkpoints have some 200
SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")


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
