"""The norms of one checkpoint: which tensors, from which files, as values."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from goldilocks.checkpoints import conventions, header
from goldilocks.checkpoints.client import RefusedError, concurrent_map, submit
from goldilocks.checkpoints.families import Choice, Norm, choose, like_norms
from goldilocks.checkpoints.folders import INDEX, WHOLE_MODEL
from goldilocks.checkpoints.ranges import MissingError, Source, Span, merge, refuse_lfs_pointer
from goldilocks.checkpoints.resolve import PICKLES, Checkpoint, pickle_refused
from goldilocks.checkpoints.shards import SAFETENSORS, missing_norms, number_of_blocks, read_index, shards_of
from goldilocks.core.cli import UserError
from goldilocks.softmax.floats import from_bf16_bits

CONFIG = "config.json"
STORED = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
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


class File(NamedTuple):
    """A safetensors file whose header was read."""

    source: Source
    places: Mapping[str, header.Place]


def open_file(source: Source) -> File:
    """Read a file's header, in one request if it is not too long.

    Raises:
        UserError: if it is no sound safetensors file.
    """
    first = source.head()
    refuse_lfs_pointer(first, source.name)
    try:
        length = header.length(first, source.size)
        end = header.PREFIX + length
        rest = source.read([Span(len(first), end)])[0] if end > len(first) else b""
        places = header.parse((first + rest)[header.PREFIX : end], source.size)
    except header.HeaderError as error:
        raise UserError(f"{source.name}: not a sound safetensors file: {error}") from None
    return File(source, places)


def read_config(checkpoint: Checkpoint, notes: list[str]) -> dict[str, Any] | None:
    """The contents of config.json, or None if it is missing or can't be read."""
    where = f"{checkpoint.folder.name}/{CONFIG}"
    try:
        text = checkpoint.folder.text(CONFIG)
    except MissingError:
        return None
    except RefusedError as error:
        notes.append(f"{error}; going on without it")
        return None
    refuse_lfs_pointer(text, where)
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{where}: not a JSON object; mend it, or take it away")
    return config


def main_files(checkpoint: Checkpoint) -> list[str]:
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
    if len(files) == 1 or shards_of(files):
        return files
    if files:
        raise UserError(f"{where}: holds {', '.join(files[:4])}{' …' if files[4:] else ''}; name the file you mean")
    if pickles := sorted(name for name in names if name.endswith(PICKLES)):
        raise pickle_refused(f"{where}/{pickles[0]}")
    raise UserError(f"{where}: no safetensors file in it")


def decode(raw: np.ndarray, stored: str) -> np.ndarray:
    """The stored values (n,) as float32; values too large for it become infinite."""
    if stored == "BF16":
        return from_bf16_bits(raw)
    with np.errstate(over="ignore"):
        return raw.astype(np.float32)


def _checked(choice: Choice, files: Mapping[str, File], where: str) -> None:
    """Refuse tensors that can't be norms.

    Raises:
        UserError: for the first, and how many more there are.
    """
    problems, total = [], 0
    for name in choice.norms:
        place = files[name].places[name]
        if place.dtype not in STORED:
            problems.append(f"{where}: {name} is stored as {place.dtype}; only {', '.join(STORED)} are read")
        total += place.stop - place.start
    if problems:
        raise UserError(problems[0] + (f" (and {len(problems) - 1} more such problems)" if problems[1:] else ""))
    if total > MOST:
        raise UserError(f"{where}: its norms have {total:,} bytes, more than the {MOST:,} that are read")


def extract(checkpoint: Checkpoint) -> Extraction:
    """The norms of a checkpoint.

    Raises:
        UserError: if it can't be read, is damaged, or has no norm.
    """
    notes: list[str] = []
    folder = checkpoint.folder
    asked = submit(lambda: read_config(checkpoint, notes))
    first = main_files(checkpoint)
    listed, opened = open_first(checkpoint, first)
    whole_config = asked.result()
    config = conventions.deciding(whole_config)
    choice = choose(listed, config)
    strange = like_norms(listed, choice.norms)
    named = {*choice.norms, *strange}
    wanted = sorted({listed[name] for name in named} - set(opened))
    files_read = concurrent_map(lambda name: open_file(folder.source(name)), wanted)
    opened |= dict(zip(wanted, files_read, strict=True))
    files = {name: opened[listed[name]] for name in named}
    for name, file in files.items():
        if name not in file.places:
            raise UserError(f"{file.source.name}: no {name} in it, where the index says it is")
    shapes = {name: file.places[name].shape for name, file in files.items()}
    matrices = {_module(name) for name in choice.norms if len(shapes[name]) != 1 or not shapes[name][0]}
    if matrices:  # or without values
        choice = choose([name for name in listed if _module(name) not in matrices], config)
    unrecognised = {
        name: shape
        for name, shape in sorted(shapes.items())
        if name not in choice.norms and (len(shape) == 1 or _module(name) in matrices)
    }
    shards = shards_of(first)
    if not choice.norms:
        listed_shapes = [f"{name} {list(shape)}" for name, shape in unrecognised.items()]
        more = " …" if listed_shapes[3:] else ""
        hint = f"; unrecognised: {', '.join(listed_shapes[:3])}{more}" if listed_shapes else ""
        it = f"{len(first)} of its {shards.total} shards" if shards else "it"
        raise UserError(f"{folder.name}: no norm in {it}{hint}")
    _checked(choice, files, folder.name)
    contents = read_tensors(choice.norms, files)
    tensors = []
    for name, norm in choice.norms.items():
        place = files[name].places[name]
        raw = np.frombuffer(contents[name], STORED[place.dtype])
        values = decode(raw, place.dtype)
        if name in choice.stored_less_1:
            values = values + np.float32(1)
        tensors.append(Tensor(name, norm, place.dtype, raw, values))
    if choice.note:
        notes.append(choice.note)
    if shards:
        missing = missing_norms(choice.norms.values(), number_of_blocks(whole_config))
        complete = len(first) == shards.total
        notes.append(
            f"{len(first)} of {shards.total} shards, and no index"
            + (f"; not in {'it' if len(first) == 1 else 'them'}: {missing}" if missing and not complete else "")
        )
    return Extraction(
        checkpoint.name, folder.revision, choice.family, config, tensors, unrecognised, choice.unknown, notes
    )


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def open_first(checkpoint: Checkpoint, first: list[str]) -> tuple[dict[str, str], dict[str, File]]:
    """As `_open`; in a folder that can't be listed, the index if there is no whole model."""
    try:
        return _open(checkpoint, first)
    except (MissingError, RefusedError) as error:  # stores that can't list files refuse missing ones
        if checkpoint.file or checkpoint.folder.names() is not None:
            raise
        try:
            return _open(checkpoint, [WHOLE_MODEL + INDEX])
        except (MissingError, RefusedError):
            raise error from None


def _open(checkpoint: Checkpoint, names: list[str]) -> tuple[dict[str, str], dict[str, File]]:
    """The file that each tensor is in, and the files opened already."""
    folder = checkpoint.folder
    if names[0].endswith(INDEX):
        return read_index(folder.text(names[0]), f"{folder.name}/{names[0]}"), {}
    opened = dict(zip(names, concurrent_map(lambda name: open_file(folder.source(name)), names), strict=True))
    listed: dict[str, str] = {}
    for name, file in opened.items():
        if twice := next((tensor for tensor in file.places if tensor in listed), None):
            raise UserError(f"{folder.name}: {twice} is in {listed[twice]} and in {name}")
        listed |= dict.fromkeys(file.places, name)
    return listed, opened


def read_tensors(names: Iterable[str], files: Mapping[str, File]) -> dict[str, bytes]:
    """The bytes of the named tensors; neighbouring ones are read at once."""
    by_file: dict[str, tuple[File, list[str]]] = {}
    for name in names:
        by_file.setdefault(files[name].source.name, (files[name], []))[1].append(name)
    tensors = {}
    for file, inside in by_file.values():
        spans = merge([Span(file.places[name].start, file.places[name].stop) for name in inside])
        contents, starts = file.source.read(spans), [span.start for span in spans]
        for name in inside:
            place = file.places[name]
            which = bisect_right(starts, place.start) - 1
            tensors[name] = contents[which][place.start - starts[which] : place.stop - starts[which]]
    return tensors
