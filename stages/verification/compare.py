"""Is everything that a rebuild made the committed one, byte for byte? If not, which value differs first?

Committed reports lie in the clone, since they are in git. Of data, `dvc.lock` has the hashes; the bytes are looked for
in the cache of the repository that was cloned, only to say what differs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from safetensors import deserialize

from goldilocks.softmax.floats import from_bf16_bits
from stages.model5.recorded import dvc_hash
from stages.verification.dvc_files import DvcLock, Entry, overlap

ABSENT = "another hash; the committed data is not here"
UNEQUAL_LENGTH = "number of entries"
Values = Mapping[str, Sequence[Any] | np.ndarray]


class Difference(NamedTuple):
    """An output that is not the committed one, with the first value that differs."""

    output: str
    stage: str
    what: str
    rebuilt: str = ""
    committed: str = ""
    by: str = ""


class File(NamedTuple):
    """A file of an output."""

    md5: str
    path: Path


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings and lists, with its path: keys joined by dots."""
    if isinstance(value, Mapping | list):
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from leaves(entry, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _of_json(contents: bytes) -> Values:
    return {name: [value] for name, value in leaves(json.loads(contents))}


def _of_csv(contents: bytes) -> Values:
    head, *rows = csv.reader(io.StringIO(contents.decode()))
    return dict(zip(head, zip(*rows, strict=True), strict=True))


def _of_table(contents: bytes) -> Values:
    table = pq.read_table(io.BytesIO(contents))
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _of_tensors(contents: bytes) -> Values:
    tensors = deserialize(contents)  # type: ignore[no-untyped-call]
    return {name: _numbers(of["dtype"], bytes(of["data"])) for name, of in sorted(tensors)}


def _numbers(dtype: str, data: bytes) -> np.ndarray:
    if dtype == "BF16":
        return from_bf16_bits(np.frombuffer(data, "<u2"))
    kind, bits = ("f" if dtype.startswith("F") else dtype[0].lower()), int(dtype[1:])
    return np.frombuffer(data, f"<{kind}{bits // 8}")


def _of_text(contents: bytes) -> Values:
    return {"lines": contents.decode().split("\n")}


READERS = {".json": _of_json, ".csv": _of_csv, ".parquet": _of_table, ".safetensors": _of_tensors}


def values(name: str, contents: bytes) -> Values:
    """What a file holds, as named sequences of values; bytes, if its kind is not known or it is not sound."""
    try:
        return READERS.get(Path(name).suffix, _of_text)(contents)
    except Exception:  # of any reader: what is damaged is compared as bytes
        return {"bytes": contents}


def first_difference(here: Values, there: Values) -> tuple[str, str, str, str]:
    """The first value that differs: its name, what it is, what it was, and the difference of numbers."""
    for name in {**there, **here}:
        if name not in there or name not in here:
            return name, *(("–", "present", "") if name in there else ("present", "–", ""))
        ours, theirs = here[name], there[name]
        for at, (value, other) in enumerate(zip(ours, theirs, strict=False)):
            if value != other and (value == value or other == other):  # two NaNs are the same
                place = name if len(theirs) == 1 else f"{name}[{at}]"
                return place, *_excerpts(value, other), _by(value, other)
        if len(ours) != len(theirs):
            return f"{name}: {UNEQUAL_LENGTH}", str(len(ours)), str(len(theirs)), ""
    return "the same values, stored otherwise", "", "", ""


def _excerpts(value: Any, other: Any) -> tuple[str, str]:
    """Both values; of long texts where they begin to differ."""
    texts = [str(one.item() if isinstance(one, np.generic) else one) for one in (value, other)]
    if max(map(len, texts)) <= 40:
        return texts[0], texts[1]
    at = next((at for at, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, at - 15)
    return texts[0][start : start + 40], texts[1][start : start + 40]


def _by(value: Any, other: Any) -> str:
    try:
        return f"{abs(float(value) - float(other)):.3g}"
    except (TypeError, ValueError):
        return ""


def in_clone(folder: Path, output: str) -> dict[str, File]:
    """The files of an output as they lie in a clone, by their path in it; an output that is a file has the path `.`."""
    path = folder / output
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): File(dvc_hash(file), file) for file in found if file.suffix != ".tmp"}


def in_cache(cache: Path, md5: str) -> dict[str, File]:
    """The files of an output in a cache of DVC; none if it is not there, or is damaged."""
    whole = _object(cache, md5)
    if not whole.path.is_file() or dvc_hash(whole.path) != md5.removesuffix(".dir"):
        return {}
    if not md5.endswith(".dir"):
        return {".": whole}
    return {entry["relpath"]: _object(cache, entry["md5"]) for entry in json.loads(whole.path.read_bytes())}


def _object(cache: Path, md5: str) -> File:
    return File(md5, cache / "files/md5" / md5[:2] / md5[2:])


def of_files(entry: Entry, here: Mapping[str, File], there: Mapping[str, File]) -> Difference | None:
    """The first difference between the files of an output, rebuilt and committed; None if there is none."""
    names = [
        name for name in sorted({*here, *there})
        if name not in here or name not in there or here[name].md5 != there[name].md5
    ]  # fmt: skip
    if not names:
        return None
    first, stage = names[0], entry.stage
    output = entry.path if first == "." else f"{entry.path}: {first}"
    if len(names) > 1:
        output += f" and {len(names) - 1} more"
    if first not in here:
        return Difference(output, stage, "not made again")
    if first not in there:
        return Difference(output, stage, "not committed")
    ours, theirs = here[first].path, there[first].path
    if not theirs.is_file() or dvc_hash(theirs) != there[first].md5:
        return Difference(output, stage, ABSENT)
    name = entry.path if first == "." else first
    return Difference(
        output, stage, *first_difference(values(name, ours.read_bytes()), values(name, theirs.read_bytes()))
    )


def of_output(made: Entry, recorded: Entry | None, rebuilt: Path, committed: Path, cache: Path) -> Difference | None:
    """How an output differs from the committed one, None if it does not; see `of_lock`.

    Args:
        made: it, with the hash that the rebuild recorded.
        recorded: it, with the hash that is committed, if there is one.
    """
    if recorded is None:
        return Difference(made.path, made.stage, "not in the committed dvc.lock")
    here, in_git = in_clone(rebuilt, made.path), in_clone(committed, made.path)
    if in_git and (found := of_files(made, here, in_git)):
        return found
    if made.md5 == recorded.md5:
        return None
    if in_git:
        return Difference(made.path, made.stage, "the committed dvc.lock has another hash")
    there = in_cache(cache, recorded.md5)
    return (of_files(made, here, there) if there else None) or Difference(made.path, made.stage, ABSENT)


def of_lock(
    lock: Path, rebuilt: Path, committed: Path, cache: Path, whole: bool = False
) -> tuple[int, list[Difference]]:
    """Everything that a rebuilt `dvc.lock` records, held against the committed one.

    Args:
        lock: the file's name in a clone.
        rebuilt: the clone that it was made in.
        committed: a clone that nothing was made in.
        cache: of the repository that was cloned.
        whole: everything should have been made again.

    Returns:
        how many outputs were compared; those that differ in the order of the pipeline, then dependencies recorded with
        another hash, although no output that they are a part of differs.
    """
    here, there = DvcLock(rebuilt / lock), DvcLock(committed / lock)
    made, recorded = here.outputs(), there.outputs()
    compared = {path: of_output(out, recorded.get(path), rebuilt, committed, cache) for path, out in made.items()}
    if whole:
        compared |= {
            path: Difference(path, out.stage, "not made again") for path, out in recorded.items() if path not in made
        }
    found = {path: difference for path, difference in compared.items() if difference}
    known = set(there.entries("deps"))
    stray = [
        Difference(entry.path, entry.stage, "the committed dvc.lock has another hash of this dependency")
        for entry in here.entries("deps")
        if entry not in known and not any(overlap(entry.path, path) for path in found)
    ]
    return len(compared), [*found.values(), *stray]
