"""Write and read tables, checked against their declaration in `schemas.py`.

A table is tidy Parquet (one observation a row), zstd-compressed, its strings dictionary-encoded. Units and meaning
stand in the field metadata, the parameters that made it in the file metadata under `parameters`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.core.schemas import NAME, schema

if TYPE_CHECKING:
    import pandas as pd


class Runs(NamedTuple):
    """A column of text as runs: `texts[i]` is repeated `lengths[i]` times."""

    texts: Sequence[str]
    lengths: Sequence[int]


def _array(values: Any) -> pa.Array:
    """An Arrow array from a list, a NumPy array or runs; the latter two without importing pandas."""
    if isinstance(values, Runs):
        codes = {text: code for code, text in enumerate(dict.fromkeys(values.texts))}
        column = np.repeat(np.array([codes[text] for text in values.texts], np.int32), values.lengths)
        return pa.DictionaryArray.from_arrays(_array(column), _strings(list(codes)))
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "if":
        return pa.array(values, from_pandas=False)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def _strings(values: Sequence[str]) -> pa.Array:
    contents = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, contents)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(contents), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(contents))]
    )


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; none if there is no row."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def write(path: Path, table: str, columns: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Write a table's columns (arrays, lists or runs of one length) as Parquet.

    Args:
        parameters: the parameters that determined it, stored in the file's metadata.

    Raises:
        ValueError: if columns are missing or not declared.
        pa.ArrowInvalid: if they differ in length, hold nulls, or a value does not fit its declared type.
    """
    declared = schema(table)
    if set(columns) != set(declared.names):
        raise ValueError(f"table {table}: columns {sorted(columns)} are not the declared {sorted(declared.names)}")
    arrays = [_array(columns[field.name]).cast(field.type) for field in declared]
    metadata = {"table": table, "parameters": json.dumps(parameters, sort_keys=True)}
    contents = pa.Table.from_arrays(arrays, schema=declared.with_metadata(metadata))
    contents.validate(full=True)
    texts = [field.name for field in declared if field.type == NAME]
    with files.atomic_file(path) as temporary, temporary.open("wb") as handle:  # a path would become an address
        pq.write_table(contents, handle, compression="zstd", use_dictionary=texts)


def read(path: Path, table: str) -> pd.DataFrame:
    """Read a table as a data frame and check that it is the declared one.

    Raises:
        UserError: if it is missing, damaged, or another table.
    """
    try:
        contents = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: can't be read as a table ({error}); run the stage that makes it again") from error
    if contents.schema.remove_metadata() != schema(table).remove_metadata():
        raise UserError(f"{path}: not the table {table!r} as this version declares it; run the stage that makes it")
    frame: pd.DataFrame = contents.to_pandas()
    return frame


def parameters(path: Path) -> dict[str, Any]:
    """The parameters a table was made with, from its file's metadata."""
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"parameters"])
    return found
