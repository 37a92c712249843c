"""The tensors of one checkpoint: in which files they are, and their values, read by ranges."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np

from goldilocks.checkpoints import header
from goldilocks.checkpoints.client import concurrent_map
from goldilocks.checkpoints.folders import INDEX, WHOLE_MODEL, Folder
from goldilocks.checkpoints.ranges import MissingError, RefusedError, Source, Span, merge, refuse_lfs_pointer
from goldilocks.checkpoints.resolve import PICKLES, Checkpoint, pickle_refused
from goldilocks.checkpoints.shards import SAFETENSORS, read_index, total_of
from goldilocks.core.cli import UserError
from goldilocks.softmax.floats import from_bf16_bits

STORED = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}


def decode(raw: np.ndarray, stored: str) -> np.ndarray:
    """Stored values as float32; values too large for it become infinite."""
    if stored == "BF16":
        return from_bf16_bits(raw)
    with np.errstate(over="ignore"):
        return raw.astype(np.float32)


def read_object(folder: Folder, name: str, notes: list[str]) -> dict[str, Any] | None:
    """A JSON object beside the tensors, such as config.json; None, perhaps with a note, if it is not to be had.

    Raises:
        UserError: if it is none.
    """
    try:
        text = folder.text(name)
    except MissingError:
        return None
    except RefusedError as error:
        notes.append(f"{error}; going on without it")
        return None
    refuse_lfs_pointer(text, f"{folder.name}/{name}")
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError):
        contents = None
    if not isinstance(contents, dict):
        raise UserError(f"{folder.name}/{name}: not a JSON object; mend it, or take it away")
    return contents


def first_files(checkpoint: Checkpoint) -> list[str]:
    """The files to begin with: the model, the index of its shards, or shards without an index.

    Raises:
        UserError: if there is none, or there are several to choose from.
    """
    if checkpoint.file:
        return [checkpoint.file]
    names = checkpoint.folder.names()
    if names is None or WHOLE_MODEL in names:
        return [WHOLE_MODEL]
    if WHOLE_MODEL + INDEX in names:
        return [WHOLE_MODEL + INDEX]
    files = sorted(name for name in names if name.endswith(SAFETENSORS))
    where = checkpoint.folder.name
    if len(files) == 1 or total_of(files):
        return files
    if files:
        raise UserError(f"{where}: holds {', '.join(files[:4])}{' …' if files[4:] else ''}; name the file you mean")
    if pickles := sorted(name for name in names if name.endswith(PICKLES)):
        raise pickle_refused(f"{where}/{pickles[0]}")
    raise UserError(f"{where}: no safetensors file in it")


class File(NamedTuple):
    """A safetensors file whose header was read."""

    source: Source
    places: dict[str, header.Place]


class Tensors:
    """The tensors of a checkpoint. Only files of tensors that are asked for are opened.

    Raises:
        UserError: by every method, if a file can't be read, is damaged, or is not what the index says.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.folder = checkpoint.folder
        self.first = first_files(checkpoint)
        self.files: dict[str, str] = {}
        """The name of the file that each tensor is in."""

        self._opened: dict[str, File] = {}
        try:
            self._list(self.first)
        except (MissingError, RefusedError) as error:  # stores that can't list files refuse missing ones
            if checkpoint.file or self.folder.names() is not None:
                raise
            try:
                self._list([WHOLE_MODEL + INDEX])
            except (MissingError, RefusedError):
                raise error from None

    def _list(self, names: list[str]) -> None:
        if names[0].endswith(INDEX):
            self.files = read_index(self.folder.text(names[0]), f"{self.folder.name}/{names[0]}")
            return
        self._open(names)
        for name in names:
            places = self._opened[name].places
            if twice := next((tensor for tensor in places if tensor in self.files), None):
                raise UserError(f"{self.folder.name}: {twice} is in {self.files[twice]} and in {name}")
            self.files |= dict.fromkeys(places, name)

    def _open(self, names: Iterable[str]) -> None:
        def opened(name: str) -> File:
            source = self.folder.source(name)
            return File(source, header.read(source))

        new = sorted(set(names) - set(self._opened))
        self._opened |= zip(new, concurrent_map(opened, new), strict=True)

    def places(self, names: Collection[str]) -> dict[str, header.Place]:
        """Where these tensors are in their files, by name."""
        self._open(self.files[name] for name in names)
        found = {}
        for name in names:
            file = self._opened[self.files[name]]
            if name not in file.places:
                raise UserError(f"{file.source.name}: no {name} in it, where the index says it is")
            found[name] = file.places[name]
        return found

    def read(self, names: Collection[str]) -> dict[str, np.ndarray]:
        """The values of tensors as they are stored, in their shapes; neighbouring ones are read at once.

        NumPy has no bfloat16: of those it is the bits, as 16-bit numbers.
        """
        places, by_file = self.places(names), defaultdict[str, list[str]](list)
        for name, place in places.items():
            if place.dtype not in STORED:
                listed = ", ".join(STORED)
                raise UserError(f"{self.folder.name}: {name} is stored as {place.dtype}; only {listed} are read")
            by_file[self.files[name]].append(name)
        tensors = {}
        for file, inside in by_file.items():
            spans = merge([Span(places[name].start, places[name].stop) for name in inside])
            contents, starts = self._opened[file].source.read(spans), [span.start for span in spans]
            for name in inside:
                dtype, shape, start, stop = places[name]
                which = bisect_right(starts, start) - 1
                values = contents[which][start - starts[which] : stop - starts[which]]
                tensors[name] = np.frombuffer(values, STORED[dtype]).reshape(shape)
        return {name: tensors[name] for name in names}
