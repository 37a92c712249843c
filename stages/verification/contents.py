"""What an output holds, as named values that can be compared: the same for a file here and for one on another machine.

Of tables and tensors, which are not in git, the values are summaries, so that `reports/digests.json` can keep them; all
else is in git and is compared number by number. Every file has the value `data`, a hash of what it holds without how it
is stored: two Parquet files with the same columns and rows have the same, whatever their compression and metadata.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from safetensors import deserialize

from stages.common import files

Value = str | int | float | bool | list[float]
Contents = dict[str, Value]
DATA = "data"
MOST_LEAVES = 2000  # of a JSON file; one with more, such as a vocabulary, is known by its hash alone
NUMBER = re.compile(r"(?<![\w#.&-])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w;])", re.ASCII)
IDENTIFIER = re.compile(r'(?<=[#"])[a-z][0-9a-f]{10}(?=[")])')  # Matplotlib's, hashes of what is drawn
IMAGE = re.compile(r"data:image/(?:(png|svg\+xml);base64,([A-Za-z0-9+/=\s]+)|svg\+xml,([^\"]+))")
SAMPLES = re.compile(r"<pre>.*?</pre>", re.DOTALL)


def digest(*parts: bytes | str) -> str:
    """The SHA-256 of parts, each with its length, so that no two lists of parts have one hash."""
    total = hashlib.sha256()
    for part in parts:
        contents = part.encode() if isinstance(part, str) else part
        total.update(len(contents).to_bytes(8, "little"))
        total.update(contents)
    return total.hexdigest()


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Value]]:
    """Every value in nested mappings and lists, with its path: keys joined by dots."""
    if isinstance(value, Mapping | list):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, entry in entries:
            yield from leaves(entry, f"{name}.{key}" if name else str(key))
    else:
        yield name, "null" if value is None else value


def apart(text: str) -> tuple[str, list[float]]:
    """A text with `#` in place of each number in it, and the numbers."""
    numbers: list[float] = []

    def number(found: re.Match[str]) -> str:
        numbers.append(float(found[0]))
        return "#"

    return NUMBER.sub(number, text), numbers


def summary(numbers: np.ndarray) -> dict[str, float | int]:
    """How many of the numbers are finite, and their mean, σ and extremes to six digits."""
    finite = numbers[np.isfinite(numbers)].astype(np.float64)
    if not finite.size:
        return {"finite": 0}
    found = {"mean": finite.mean(), "std": finite.std(), "min": finite.min(), "max": finite.max()}
    return {"finite": finite.size} | {name: files.significant(float(value)) for name, value in found.items()}


def of_table(path: Path) -> Contents:
    """Rows, and of each column its type and a summary, or a hash of its texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as handle:
        table = pq.read_table(handle)
    found: Contents = {"rows": table.num_rows}
    hashes = []
    for field in table.schema:
        column = table.column(field.name)
        found[f"{field.name}.type"] = str(field.type)
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type):
            numbers = column.to_numpy()
            hashes.append(digest(np.ascontiguousarray(numbers).tobytes()))
            found |= {f"{field.name}.{key}": value for key, value in summary(numbers).items()}
        else:
            hashes.append(digest(*map(str, column.to_pylist())))
            found[f"{field.name}.texts"] = hashes[-1]
    return found | {DATA: digest(str(table.schema.remove_metadata()), *hashes)}


def of_tensors(path: Path) -> Contents:
    """Names and shapes of the tensors, and one summary of all numbers."""
    tensors = sorted(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    shapes = digest(*(f"{name} {of['dtype']} {of['shape']}" for name, of in tensors))
    numbers = [_numbers(of["dtype"], of["data"]) for _, of in tensors]
    hashes = [digest(bytes(of["data"])) for _, of in tensors]
    return {"shapes": shapes, **summary(np.concatenate(numbers or [np.zeros(0)])), DATA: digest(shapes, *hashes)}


def _numbers(dtype: str, data: bytes) -> np.ndarray:
    if dtype == "BF16":  # the upper half of an fp32 number
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    kind, bits = ("f" if dtype.startswith("F") else dtype[0].lower()), int(dtype[1:])
    return np.frombuffer(data, f"<{kind}{bits // 8}")


def of_csv(path: Path) -> Contents:
    """Every column: its numbers, or a hash of its texts."""
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
    found: Contents = {"rows": len(rows) - 1, DATA: digest(*(cell for row in rows for cell in row))}
    for name, *cells in zip(*rows, strict=True):
        try:
            found[name] = [float(cell) for cell in cells]
        except ValueError:
            found[name] = digest(*cells)
    return found


def of_json(path: Path) -> Contents:
    """Every value in it by its path; of texts with numbers in them, the text and the numbers apart."""
    parsed = json.loads(path.read_text("utf-8"))
    found: Contents = {}
    for name, value in leaves(parsed):
        text, numbers = apart(value) if isinstance(value, str) else (value, [])
        found[name] = text
        if numbers:
            found[f"{name}.numbers"] = numbers
    whole = {DATA: digest(json.dumps(parsed, sort_keys=True))}
    return whole | (found if len(found) <= MOST_LEAVES else {})


def of_page(path: Path) -> Contents:
    """An SVG or HTML file as its text, with the numbers in it apart; also those of the SVG files embedded in it.

    Pictures made of pixels are compared by the mean of each colour, and samples of text not at all: a sampled text
    takes another turn when a model's weights differ in their last digits.
    """
    whole = path.read_text("utf-8")
    pixels: list[float] = []

    def embedded(found: re.Match[str]) -> str:
        if found[3]:
            return IMAGE.sub(embedded, unquote(found[3]))
        contents = base64.b64decode(found[2])
        if found[1] == "png":
            pixels.extend(_pixels(contents))
            return "PNG"
        return IMAGE.sub(embedded, contents.decode())

    text, numbers = apart(IDENTIFIER.sub("id", IMAGE.sub(embedded, SAMPLES.sub("", whole))))
    return {"text": digest(text), "numbers": numbers, "pixels": pixels, DATA: digest(whole)}


def _pixels(png: bytes) -> list[float]:
    import matplotlib.image

    picture = matplotlib.image.imread(io.BytesIO(png), format="png")
    return [float(value) for value in (*picture.shape, *picture.mean(axis=(0, 1)).ravel())]


READERS = {
    ".parquet": of_table,
    ".safetensors": of_tensors,
    ".csv": of_csv,
    ".json": of_json,
    ".svg": of_page,
    ".html": of_page,
}


def contents(path: Path) -> Contents:
    """What a file holds; of a kind that is not known, the hash of its bytes alone.

    Raises:
        UserError, OSError, ValueError, pa.ArrowException: if it is damaged.
    """
    reader = READERS.get(path.suffix)
    return reader(path) if reader else {DATA: digest(path.read_bytes())}


def md5(path: Path) -> str:
    """The MD5 of a file's bytes, as DVC names it."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


def md5_of_folder(hashes: Mapping[str, str]) -> str:
    """The name DVC gives a folder: the MD5 of the list of its files.

    Args:
        hashes: the MD5 of each file by its path relative to the folder, with `/`.
    """
    listed = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes, key=lambda name: name.split("/"))]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def below(path: Path) -> list[Path]:
    """The files of an output: itself, or all those in it if it is a folder, in order; half-written ones left out."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".tmp")
