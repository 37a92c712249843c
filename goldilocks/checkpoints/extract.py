"""The norms of one checkpoint: which of its tensors, and their values."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from goldilocks.checkpoints import conventions
from goldilocks.checkpoints.client import submit
from goldilocks.checkpoints.families import Norm, choose, like_norms
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.checkpoints.tensors import Tensors, decode, read_object, total_of
from goldilocks.core.cli import UserError

CONFIG = "config.json"
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")  # names of the number of blocks in config.json
MOST = 2**28  # bytes of all norms of a checkpoint; those of Llama 405B have 2**23


class Tensor(NamedTuple):
    """A norm's parameter: its name, its place, its stored type, its values (n,) as float32 and as stored.

    NumPy has no bfloat16; of those, `raw` has the bits as 16-bit numbers.
    """

    name: str
    norm: Norm
    stored: str
    raw: np.ndarray
    values: np.ndarray


class Extraction(NamedTuple):
    """A checkpoint's norms, and notes for the user about them."""

    model: str
    revision: str
    family: str
    config: dict[str, Any] | None
    tensors: list[Tensor]
    unrecognised: dict[str, tuple[int, ...]]
    """The shapes of tensors that are named like a norm and not among these."""

    unknown: str
    """Why it is not known whether γ is stored less 1; empty if it is known, and γ is what the model multiplies with."""

    notes: list[str]


def extract(checkpoint: Checkpoint) -> Extraction:
    """The norms of a checkpoint.

    Raises:
        UserError: if it can't be read, is damaged, or has no norm.
    """
    notes: list[str] = []
    folder = checkpoint.folder
    asked = submit(lambda: read_object(folder, CONFIG, notes))
    tensors = Tensors(checkpoint)
    whole_config = asked.result()
    config = conventions.deciding(whole_config)
    choice = choose(tensors.files, config)
    places = tensors.places([*choice.norms, *like_norms(tensors.files, choice.norms)])
    shapes = {name: place.shape for name, place in sorted(places.items())}
    matrices = {_module(name) for name in choice.norms if len(shapes[name]) != 1 or not shapes[name][0]}
    if matrices:  # or without values
        choice = choose([name for name in tensors.files if _module(name) not in matrices], config)
    unrecognised = {
        name: shape
        for name, shape in shapes.items()
        if name not in choice.norms and (len(shape) == 1 or _module(name) in matrices)
    }
    files, total = len(tensors.first), total_of(tensors.first)
    if not choice.norms:
        listed = [f"{name} {list(shape)}" for name, shape in unrecognised.items()]
        hint = f"; unrecognised: {', '.join(listed[:3])}{' …' if listed[3:] else ''}" if listed else ""
        raise UserError(f"{folder.name}: no norm in {f'{files} of its {total} shards' if total else 'it'}{hint}")
    if (size := sum(len(places[name].span) for name in choice.norms)) > MOST:
        raise UserError(f"{folder.name}: its norms have {size:,} bytes, more than the {MOST:,} that are read")
    found, contents = [], tensors.read(choice.norms)
    for name, norm in choice.norms.items():
        values = decode(contents[name], places[name].dtype)
        if name in choice.stored_less_1:
            values = values + np.float32(1)
        found.append(Tensor(name, norm, places[name].dtype, contents[name], values))
    if choice.note:
        notes.append(choice.note)
    if total:
        missing = missing_norms(choice.norms.values(), whole_config or {}) if files < total else []
        notes.append(f"{files} of {total} shards, and no index" + "; missing: " * bool(missing) + ", ".join(missing))
    return Extraction(
        checkpoint.name, folder.revision, choice.family, config, found, unrecognised, choice.unknown, notes
    )


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def missing_norms(norms: Collection[Norm], config: dict[str, Any]) -> list[str]:
    """Which norms of a model are not among these, in words."""
    of_text = config.get("text_config")  # of a model for images or sound, too
    holders = [config, of_text if isinstance(of_text, dict) else {}]
    depths = (holder.get(key) for holder in holders for key in DEPTHS)
    depth = next((n for n in depths if type(n) is int and 0 < n < 10_000), None)
    found = {(norm.block, norm.place, norm.kind) for norm in norms if norm.block >= 0}
    of_a_block = {(place, kind) for _, place, kind in found}
    last = max((block for block, _, _ in found), default=-1)
    blocks = [
        block
        for block in range(max(depth or 0, last + 1))
        if not found or any((block, *parameter) not in found for parameter in of_a_block)
    ]
    runs = [[block for _, block in run] for _, run in groupby(enumerate(blocks), lambda pair: pair[1] - pair[0])]
    listed = ", ".join(f"{run[0]}-{run[-1]}" if run[1:] else f"{run[0]}" for run in runs)
    missing = [f"block{'s' if blocks[1:] else ''} {listed}"] if blocks else []
    if depth is None:
        missing.append(f"any after block {last}" if found else "any block")
    if all(norm.block >= 0 for norm in norms):
        missing.append("any outside of blocks")
    return missing
