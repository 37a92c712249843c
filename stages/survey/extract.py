"""The norms of one checkpoint: which tensors, from which files, as values."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from goldilocks.softmax.floats import from_bf16_bits
from stages.common.cli import UserError, plain
from stages.survey import header
from stages.survey.client import RefusedError
from stages.survey.families import FAMILIES, GAMMA, Choice, Norm, choose, like_norms
from stages.survey.folders import INDEX, WHOLE_MODEL
from stages.survey.locate import PICKLES, SAFETENSORS, Checkpoint, pickle_refused
from stages.survey.ranges import Advance, Bar, MissingError, Source, Span, merged, no_bar
from stages.survey.threads import begin, each

CONFIG = "config.json"
DECIDING = {"model_type", *(key for family in FAMILIES for key in family.needs)}
STORED = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
LONGEST = 2**20  # values of one norm; the widest models have some 2**15
MOST_FILES = 2**12  # of an index; the largest checkpoints have some 200
MOST = 2**28  # bytes of all norms of a checkpoint; those of Llama 405B have 2**23


class Tensor(NamedTuple):
    """A norm's parameter: its name, what it is, the type it is stored in, its values (n,) as float32 and as stored.

    NumPy has no bfloat16; of those, `raw` has the bits as 16-bit numbers.
    """

    name: str
    norm: Norm
    stored: str
    raw: np.ndarray
    values: np.ndarray


class Extraction(NamedTuple):
    """What a checkpoint's norms are, and what the user should know about them."""

    model: str
    revision: str
    family: str
    config: dict[str, Any] | None
    tensors: list[Tensor]
    unrecognised: list[str]
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
    try:
        length = header.length(first, source.size)
        end = header.PREFIX + length
        rest = source.read([Span(len(first), end)])[0] if end > len(first) else b""
        return File(source, header.parse((first + rest)[header.PREFIX : end], source.size))
    except header.HeaderError as error:
        raise UserError(f"{source.name}: not a sound safetensors file: {error}") from None


def open_shard(source: Source, named: Collection[str]) -> File:
    """Read a shard's header, and remember of it where the named tensors are."""
    file = open_file(source)
    return file._replace(places={name: place for name, place in file.places.items() if name in named})


def read_config(checkpoint: Checkpoint, notes: list[str]) -> dict[str, Any] | None:
    """What config.json says that the rules of `families` ask for, or None if there is none that can be had."""
    try:
        text = checkpoint.folder.text(CONFIG)
    except MissingError:
        return None
    except RefusedError as error:
        notes.append(f"{error}; going on without it")
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{checkpoint.folder.name}/{CONFIG}: not a JSON object; mend it, or take it away")
    deciding = {key: found.get(key) for key in sorted(DECIDING)}
    return {key: plain(v) if isinstance(v, str) else v for key, v in deciding.items() if isinstance(v, str | bool)}


def main_file(checkpoint: Checkpoint) -> str:
    """The file to begin with: the model, or the index of its shards.

    Raises:
        UserError: if there is none, or there are several to choose from.
    """
    if checkpoint.file:
        return checkpoint.file
    names = checkpoint.folder.names()
    if names is None or WHOLE_MODEL in names:
        return WHOLE_MODEL
    if WHOLE_MODEL + INDEX in names:
        return WHOLE_MODEL + INDEX
    found = sorted(name for name in names if name.endswith(SAFETENSORS))
    where = checkpoint.folder.name
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{where}: holds {', '.join(found[:4])}{' …' if found[4:] else ''}; name the file you mean")
    if pickles := sorted(name for name in names if name.endswith(PICKLES)):
        raise pickle_refused(f"{where}/{pickles[0]}")
    raise UserError(f"{where}: no safetensors file in it")


def read_index(text: bytes, where: str) -> dict[str, str]:
    """The file of each tensor of a sharded checkpoint.

    Raises:
        UserError: if the index is damaged, endless, or leads out of its folder.
    """
    try:
        files = json.loads(text)["weight_map"]
        good = isinstance(files, dict) and files and all(isinstance(file, str) for file in files.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise UserError(f"{where}: not an index of safetensors files (no weight_map from names to files)")
    if len(set(files.values())) > MOST_FILES:
        raise UserError(f"{where}: points to {len(set(files.values())):,} files, more than the {MOST_FILES:,} allowed")
    for file in set(files.values()):
        parts = PurePosixPath(file).parts
        if ".." in parts or PurePosixPath(file).is_absolute() or not parts or set(file) & set("\\:?#\0"):
            raise UserError(f"{where}: points to {file!r:.80}, outside of its folder")
        if not file.endswith(SAFETENSORS):
            raise UserError(f"{where}: points to {file!r:.80}, which is no safetensors file")
    found: dict[str, str] = files
    return found


def decode(raw: np.ndarray, stored: str) -> np.ndarray:
    """The values (n,) as float32 of what is stored; what is too large for that becomes infinite."""
    if stored == "BF16":
        return from_bf16_bits(raw)
    with np.errstate(over="ignore"):
        return raw.astype(np.float32)


def _checked(choice: Choice, files: Mapping[str, File], where: str) -> None:
    """Refuse what no norm can be.

    Raises:
        UserError: for the first, and how many more there are.
    """
    problems, seen, total = [], dict[Norm, str](), 0
    for name, norm in choice.norms.items():
        place = files[name].places[name]
        if place.dtype not in STORED:
            problems.append(f"{where}: {name} is stored as {place.dtype}; only {', '.join(STORED)} are read")
        elif len(place.shape) != 1 or not place.shape[0]:
            problems.append(f"{where}: {name} has the shape {list(place.shape)}, and a norm's parameters are a vector")
        elif place.shape[0] > LONGEST:
            problems.append(f"{where}: {name} has {place.shape[0]:,} values, more than the {LONGEST:,} of any norm")
        if norm in seen:
            problems.append(f"{where}: {seen[norm]} and {name} are the same parameter of {choice.family.name}")
        seen[norm] = name
        total += place.stop - place.start
    if problems:
        raise UserError(problems[0] + (f" (and {len(problems) - 1} more such problems)" if problems[1:] else ""))
    if total > MOST:
        raise UserError(f"{where}: its norms have {total:,} bytes, more than the {MOST:,} that are read")


def extract(checkpoint: Checkpoint, bar: Bar = no_bar) -> Extraction:
    """The norms of a checkpoint.

    Args:
        bar: makes a progress bar from the bytes to read and the model's name.

    Raises:
        UserError: if it can't be read, is damaged, or has no norm.
    """
    notes: list[str] = []
    folder = checkpoint.folder
    asked = begin(lambda: read_config(checkpoint, notes))
    first = main_file(checkpoint)
    listed, opened = _open_first(checkpoint, first)
    config = asked.result()
    choice = choose(listed, config)
    strange = like_norms(listed, choice.norms)
    named = {*choice.norms, *strange}
    wanted = sorted({listed[name] for name in named} - {first})
    opened |= dict(zip(wanted, each(lambda name: open_shard(folder.source(name), named), wanted), strict=True))
    files = {name: opened[listed[name]] for name in named}
    for name, file in files.items():
        if name not in file.places:
            raise UserError(f"{file.source.name}: no {name} in it, where the index says it is")
    unrecognised = [name for name in strange if len(files[name].places[name].shape) == 1]
    if not choice.norms:
        hint = (
            f"; unrecognised: {', '.join(unrecognised[:3])}{' …' if unrecognised[3:] else ''}" if unrecognised else ""
        )
        raise UserError(f"{folder.name}: no norm of {choice.family.name if config else 'any known family'} in it{hint}")
    _checked(choice, files, folder.name)
    contents = _read(choice.norms, files, lambda total: bar(total, checkpoint.name))
    tensors = []
    for name, norm in choice.norms.items():
        place = files[name].places[name]
        raw = np.frombuffer(contents[name], STORED[place.dtype])
        values = decode(raw, place.dtype)
        if norm.kind == GAMMA and choice.offset:
            values = values + np.float32(choice.offset)
        tensors.append(Tensor(name, norm, place.dtype, raw, values))
    notes += choice.notes
    return Extraction(checkpoint.name, folder.revision, choice.family.name, config, tensors, unrecognised, notes)


def _open_first(checkpoint: Checkpoint, first: str) -> tuple[dict[str, str], dict[str, File]]:
    """As `_open`; where nobody can tell what a folder holds, with the index if there is no such file."""
    try:
        return _open(checkpoint, first)
    except (MissingError, RefusedError) as error:  # stores that list nothing refuse what is not there
        if checkpoint.file or checkpoint.folder.names() is not None:
            raise
        try:
            return _open(checkpoint, first + INDEX)
        except (MissingError, RefusedError):
            raise error from None


def _open(checkpoint: Checkpoint, begin: str) -> tuple[dict[str, str], dict[str, File]]:
    """The file that each tensor is in, and the files opened already."""
    if begin.endswith(INDEX):
        return read_index(checkpoint.folder.text(begin), f"{checkpoint.folder.name}/{begin}"), {}
    file = open_file(checkpoint.folder.source(begin))
    return dict.fromkeys(file.places, begin), {begin: file}


def _read(names: Iterable[str], files: Mapping[str, File], bar: Callable[[int], Advance]) -> dict[str, bytes]:
    """The bytes of the named tensors, what lies near together read at once."""
    by_file: dict[str, tuple[File, list[str]]] = {}
    for name in names:
        by_file.setdefault(files[name].source.name, (files[name], []))[1].append(name)
    plans = []
    for file, inside in by_file.values():
        spans = merged([Span(file.places[name].start, file.places[name].stop) for name in inside])
        plans.append((file, inside, spans))
    advance = bar(sum(span.stop - span.start for _, _, spans in plans for span in spans))
    found = {}
    for file, inside, spans in plans:
        contents, starts = file.source.read(spans, advance), [span.start for span in spans]
        for name in inside:
            place = file.places[name]
            which = bisect_right(starts, place.start) - 1
            found[name] = contents[which][place.start - starts[which] : place.stop - starts[which]]
    return found
