"""Compare what a rebuild made with what is committed, byte for byte, and name the first value that differs.

Committed reports lie in the clone, since they are in git. `dvc.lock` has the hashes of data. Their bytes are read from
the cache of the repository that was cloned, where they are, to say which value differs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from safetensors import deserialize

from goldilocks.core.dvc_files import DvcLock, Entry, md5, paths_overlap
from goldilocks.softmax.floats import from_bf16_bits

ABSENT = "another hash; the committed data is not here"
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


def _columns(table: pd.DataFrame) -> Values:
    return {str(name): column.to_numpy() for name, column in table.items()}


def _numbers(dtype: str, data: bytes) -> np.ndarray:
    """The entries of a tensor in safetensors' layout."""
    if dtype == "BF16":
        return from_bf16_bits(np.frombuffer(data, "<u2"))
    kind, bits = ("f" if dtype.startswith("F") else dtype[0].lower()), int(dtype[1:])
    return np.frombuffer(data, f"<{kind}{bits // 8}")


READERS: Mapping[str, Callable[[bytes], Values]] = {
    ".json": lambda contents: {name: [value] for name, value in leaves(json.loads(contents))},
    ".csv": lambda contents: _columns(pd.read_csv(io.BytesIO(contents), dtype=str)),
    ".parquet": lambda contents: _columns(pd.read_parquet(io.BytesIO(contents))),
    ".safetensors": lambda contents: {
        name: _numbers(of["dtype"], of["data"])
        for name, of in sorted(deserialize(contents))  # type: ignore[no-untyped-call]
    },
}


def values(name: str, contents: bytes) -> Values:
    """The contents of a file as named sequences of values; as bytes if it is damaged or of another kind."""
    try:
        reader = READERS.get(Path(name).suffix)
        return reader(contents) if reader else {"lines": contents.decode().split("\n")}
    except Exception:  # a reader may raise anything
        return {"bytes": contents}


def first_difference(here: Values, there: Values) -> tuple[str, str, str, str]:
    """The first value that differs: its name, the rebuilt and the committed one, and their difference if numbers."""
    for name in {**there, **here}:
        if name not in there or name not in here:
            return name, *(("–", "present", "") if name in there else ("present", "–", ""))
        for at, (value, other) in enumerate(zip(here[name], there[name], strict=False)):
            if value != other and (value == value or other == other):  # two NaNs are the same
                place = name if len(there[name]) == 1 else f"{name}[{at}]"
                return place, *_excerpts(str(value), str(other)), _distance(value, other)
        if len(here[name]) != len(there[name]):
            return f"{name}: number of entries", str(len(here[name])), str(len(there[name])), ""
    return "the same values, stored otherwise", "", "", ""


def _excerpts(value: str, other: str) -> tuple[str, str]:
    """Both texts; of long ones where they begin to differ."""
    same = next((at for at, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), 0)
    start = max(0, same - 15) if max(len(value), len(other)) > 40 else 0
    return value[start : start + 40], other[start : start + 40]


def _distance(value: Any, other: Any) -> str:
    try:
        return f"{abs(float(value) - float(other)):.3g}"
    except (TypeError, ValueError):
        return ""


def in_clone(folder: Path, output: str) -> dict[str, File]:
    """The files of an output in a clone, by their path in it; an output that is a file has the path `.`."""
    path = folder / output
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): File(md5(file), file) for file in found if file.suffix != ".tmp"}


def in_cache(cache: Path, digest: str) -> dict[str, File]:
    """The files of an output in a cache of DVC; none if it is not there."""

    def cached(digest: str) -> File:
        return File(digest, cache / "files/md5" / digest[:2] / digest[2:])

    whole = cached(digest)
    if not whole.path.is_file():
        return {}
    if not digest.endswith(".dir"):
        return {".": whole}
    return {entry["relpath"]: cached(entry["md5"]) for entry in json.loads(whole.path.read_bytes())}


def of_files(entry: Entry, here: Mapping[str, File], there: Mapping[str, File]) -> Difference | None:
    """The first difference between the files of an output, rebuilt and committed; None if there is none."""
    hashes = [{name: file.md5 for name, file in side.items()} for side in (here, there)]
    first, *more = sorted({name for name, _ in hashes[0].items() ^ hashes[1].items()}) or [""]
    if not first:
        return None
    output = entry.path if first == "." else f"{entry.path}: {first}"
    output += f" and {len(more)} more" if more else ""
    if first not in here or first not in there:
        return Difference(output, entry.stage, "not made again" if first in there else "not committed")
    if not there[first].path.is_file():
        return Difference(output, entry.stage, ABSENT)
    name = entry.path if first == "." else first
    sides = (values(name, side[first].path.read_bytes()) for side in (here, there))
    return Difference(output, entry.stage, *first_difference(*sides))


def of_output(made: Entry, recorded: Entry | None, rebuilt: Path, committed: Path, cache: Path) -> Difference | None:
    """The difference of a rebuilt output from the committed one, None if there is none; see `of_lock`."""
    if recorded is None:
        return Difference(made.path, made.stage, "not in the committed dvc.lock")
    there = in_clone(committed, made.path)
    if not there and made.md5 != recorded.md5:
        there = in_cache(cache, recorded.md5)
    found = of_files(made, in_clone(rebuilt, made.path), there) if there else None
    if found or made.md5 == recorded.md5:
        return found
    return Difference(made.path, made.stage, "the committed dvc.lock has another hash" if there else ABSENT)


def of_lock(
    lock: Path, rebuilt: Path, committed: Path, cache: Path, whole: bool = False
) -> tuple[int, list[Difference]]:
    """Compare everything that a rebuilt `dvc.lock` records with the committed one.

    Args:
        lock: the file's name in a clone.
        rebuilt: the clone in which it was made.
        committed: a clone in which nothing was made.
        cache: DVC's, of the repository that was cloned.
        whole: everything should have been made again.

    Returns:
        how many outputs were compared; those that differ, in the order of the pipeline, then dependencies with another
        hash that are no part of an output that differs.
    """
    here, there = DvcLock(rebuilt / lock), DvcLock(committed / lock)
    made, recorded = here.outputs(), there.outputs()
    compared = {path: of_output(out, recorded.get(path), rebuilt, committed, cache) for path, out in made.items()}
    if whole:
        missing = (out for path, out in recorded.items() if path not in made)
        compared |= {out.path: Difference(out.path, out.stage, "not made again") for out in missing}
    found = {path: difference for path, difference in compared.items() if difference}
    other = [
        Difference(entry.path, entry.stage, "the committed dvc.lock has another hash of this dependency")
        for entry in here.entries("deps")
        if entry not in set(there.entries("deps")) and not any(paths_overlap(entry.path, path) for path in found)
    ]
    return len(compared), [*found.values(), *other]
