"""Files that are complete or do not exist, and that have the same bytes for the same content.

Everything is written beside its place under a name that git and DVC ignore (`.NAME.tmp`), flushed to disk and
renamed. So a crash leaves the old file or the new one, and of a folder the old one, none, or the new one, but never a
part. A killed run leaves `.tmp` files at worst; the next run of the same stage replaces them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DATA = Path("data")
MODEL5 = DATA / "model5"  # a folder for each seed
METRICS = Path("reports/metrics")
PLOTS = Path("reports/plots")
ABLATIONS = Path("reports/ablations")  # the last results of `make ablations`
KEPT = Path("reports/paper")  # a run at the articles' own size, see tools/archive_run.py
SIGNIFICANT_DIGITS = 6


def fsync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a whole folder; one that is not there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a free name beside `path`; if the block fails, remove what is there and name the path in the error.

    An error that names no file is one of a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    try:
        yield temporary
    except BaseException as error:
        remove(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` only if the block succeeds."""
    with _beside(path) as temporary:
        yield temporary
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a fresh temporary folder to fill; it replaces `path` only if the block succeeds."""
    with _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        for each in (*temporary.rglob("*"), temporary):
            fsync(each)
        old = path.with_name(f".{path.name}.old.tmp")
        remove(old)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        fsync(path.parent)
        remove(old)


def link_all(paths: Iterable[Path], folder: Path) -> None:
    """Link files into `folder` under their names; copy them where the file system can't link."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            os.link(path, folder / path.name)
        except OSError:
            shutil.copyfile(path, folder / path.name)


def write_bytes(path: Path, contents: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(contents)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with `\\n` line ends, whatever the platform."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def significant(value: float, digits: int = SIGNIFICANT_DIGITS) -> float:
    """`value` rounded to significant digits (0 stays 0).

    Raises:
        ValueError: if it is not finite; metrics are finite numbers.
    """
    if not math.isfinite(value):
        raise ValueError(f"a metric must be finite, got {value}")
    return float(f"{value:.{digits - 1}e}")


def rounded(value: Any) -> Any:
    """A nested structure with every float (and NumPy number) rounded to six significant digits."""
    if isinstance(value, Mapping):
        return {str(key): rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    value = value.item() if hasattr(value, "item") else value  # of NumPy
    return significant(value) if isinstance(value, float) else value


def write_metrics(name: str, metrics: Mapping[str, Any]) -> None:
    """Write a stage's metrics to `reports/metrics/NAME.json`: finite, six significant digits."""
    write_json(METRICS / f"{name}.json", rounded(metrics))


def read_metrics(name: str) -> Any:
    return read_json(METRICS / f"{name}.json")


def write_plot(name: str, columns: Mapping[str, Any]) -> None:
    """Write columns of a stage's plot to `reports/plots/NAME.csv`, floats to six significant digits."""
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(str(rounded(value)) for value in row) for row in rows)]
    write_text(PLOTS / f"{name}.csv", "\n".join(lines) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
