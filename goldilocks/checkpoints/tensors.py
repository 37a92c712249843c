"""The tensors of one checkpoint: in which files they are, where in a file, and their values, read by ranges.

The format of safetensors: https://huggingface.co/docs/safetensors. Eight bytes hold the length of the header (unsigned,
little-endian), then comes the header, a JSON object that names each tensor's type, shape and place, then the tensors
without a gap. A file may be damaged or hostile.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from goldilocks.checkpoints.client import concurrent_map
from goldilocks.checkpoints.folders import INDEX, SAFETENSORS, WHOLE_MODEL, Folder
from goldilocks.checkpoints.ranges import MissingError, RefusedError, Source, refuse_lfs_pointer
from goldilocks.checkpoints.resolve import Checkpoint, refuse_pickle
from goldilocks.core.cli import UserError
from goldilocks.softmax.floats import from_bf16_bits

STORED = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
PREFIX = 8  # bytes that hold the header's length
LARGEST = 100_000_000  # bytes of a header, the format's own limit
MAX_FILES = 2**12  # of an index; the largest checkpoints have some 200
BELOW = re.compile(rf"(?!/)(?!(.*/)?\.\./)[^\\:?#\0]+\{SAFETENSORS}", re.DOTALL)  # files that an index may point to
SHARD = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<total>\d{5})\.safetensors")
SMALL_GAP = 2**15  # unneeded bytes that cost less than another request


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
    return _parsed(text, f"{folder.name}/{name}")


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    refuse_lfs_pointer(text, where)
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError):
        contents = None
    if not isinstance(contents, dict):
        raise UserError(f"{where}: not a JSON object; mend it, or take it away")
    return contents


def read_index(text: bytes, where: str) -> dict[str, str]:
    """The file of each tensor of a sharded checkpoint.

    Raises:
        UserError: if the index is damaged, too long, or leads out of its folder.
    """
    found: Any = _parsed(text, where).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise UserError(f"{where}: not an index of safetensors files (no weight_map from names to files)")
    files: dict[str, str] = found
    for file in files.values():
        if not isinstance(file, str) or not BELOW.fullmatch(file):
            raise UserError(f"{where}: points to {file!r:.80}, which is no safetensors file in its folder")
    if len(set(files.values())) > MAX_FILES:
        raise UserError(f"{where}: points to {len(set(files.values())):,} files, more than the {MAX_FILES:,} allowed")
    return files


class Place(NamedTuple):
    """Where a tensor is: its type's name, its shape, and its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    span: range


def read_header(source: Source) -> dict[str, Place]:
    """Every tensor's place in a safetensors file; in one request if the header is not too long.

    The reference library checks it, in a file with this header and a hole in place of the tensors.

    Raises:
        UserError: if the library refuses it, or the tensors do not fill the file exactly.
    """
    head = source.head()
    refuse_lfs_pointer(head, source.name)
    end = PREFIX + int.from_bytes(head[:PREFIX], "little")
    try:
        if end > min(source.size, PREFIX + LARGEST):
            raise OverflowError(f"a header of {end - PREFIX} bytes is announced in a file of {source.size}")
        head = head[:end] + (source.read([range(len(head), end)])[0] if end > len(head) else b"")
        with tempfile.NamedTemporaryFile() as file:
            file.write(head)
            file.truncate(source.size)
            with safe_open(file.name, "numpy"):
                tensors = json.loads(head[PREFIX:])
        tensors.pop("__metadata__", None)
        return {
            name: Place(each["dtype"], tuple(each["shape"]), range(*(end + offset for offset in each["data_offsets"])))
            for name, each in tensors.items()
        }
    except (SafetensorError, OverflowError, OSError, TypeError) as error:  # the last if arrays are there for objects
        raise UserError(f"{source.name}: not a sound safetensors file: {error!s:.200}") from None


def total_of(names: Collection[str]) -> int | None:
    """How many shards the set has that these files belong to, by model-00002-of-00003.safetensors; None without one."""
    sets = {match.group("stem", "total") if (match := SHARD.fullmatch(name)) else None for name in names}
    only = sets.pop() if len(sets) == 1 else None
    return int(only[1]) if only else None


def first_files(checkpoint: Checkpoint) -> list[str]:
    """The files to begin with: the model, the index of its shards, or shards without an index.

    Raises:
        UserError: if there is none, or there are several to choose from.
    """
    if checkpoint.file:
        return [checkpoint.file]
    where, names = checkpoint.folder.name, checkpoint.folder.names()
    if names is None or WHOLE_MODEL in names:
        return [WHOLE_MODEL]
    if WHOLE_MODEL + INDEX in names:
        return [WHOLE_MODEL + INDEX]
    files = sorted(name for name in names if name.endswith(SAFETENSORS))
    if len(files) == 1 or total_of(files):
        return files
    if files:
        raise UserError(f"{where}: holds {', '.join(files[:4])}{' …' if files[4:] else ''}; name the file you mean")
    for name in sorted(names):
        refuse_pickle(f"{where}/{name}")
    raise UserError(f"{where}: no safetensors file in it")


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

        self._opened: dict[str, tuple[Source, dict[str, Place]]] = {}
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
            _, places = self._opened[name]
            if twice := next((tensor for tensor in places if tensor in self.files), None):
                raise UserError(f"{self.folder.name}: {twice} is in {self.files[twice]} and in {name}")
            self.files |= dict.fromkeys(places, name)

    def _open(self, names: Iterable[str]) -> None:
        def opened(name: str) -> tuple[Source, dict[str, Place]]:
            source = self.folder.source(name)
            return source, read_header(source)

        new = sorted(set(names) - set(self._opened))
        self._opened |= zip(new, concurrent_map(opened, new), strict=True)

    def places(self, names: Collection[str]) -> dict[str, Place]:
        """Where these tensors are in their files, by name."""
        self._open(self.files[name] for name in names)
        found = {}
        for name in names:
            source, places = self._opened[self.files[name]]
            if name not in places:
                raise UserError(f"{source.name}: no {name} in it, where the index says it is")
            found[name] = places[name]
        return found

    def read(self, names: Collection[str]) -> dict[str, np.ndarray]:
        """The values of tensors as they are stored, in their shapes; neighbouring ones are read at once.

        NumPy has no bfloat16: of those it is the bits, as 16-bit numbers.
        """
        places, groups = self.places(names), defaultdict[str, list[list[str]]](list)
        for name in sorted(names, key=lambda name: (places[name].span.start, places[name].span.stop)):
            if (dtype := places[name].dtype) not in STORED:
                listed = ", ".join(STORED)
                raise UserError(f"{self.folder.name}: {name} is stored as {dtype}; only {listed} are read")
            of_file = groups[self.files[name]]
            if of_file and places[name].span.start - places[of_file[-1][-1]].span.stop <= SMALL_GAP:
                of_file[-1].append(name)
            else:
                of_file.append([name])
        tensors = {}
        for file, of_file in groups.items():
            source, _ = self._opened[file]
            spans = [range(places[group[0]].span.start, places[group[-1]].span.stop) for group in of_file]
            for group, around, contents in zip(of_file, spans, source.read(spans), strict=True):
                for name in group:
                    dtype, shape, span = places[name]
                    values = contents[span.start - around.start : span.stop - around.start]
                    tensors[name] = np.frombuffer(values, STORED[dtype]).reshape(shape)
        return {name: tensors[name] for name in names}
