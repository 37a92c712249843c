"""Data frames of heads and of weights as Parquet, with units and meaning as in the pipeline's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.core.schemas import STEP, TABLES, Column

if TYPE_CHECKING:
    import pandas as pd

OWN = {column.name: column for column in (
    STEP,
    Column("model", pa.string(), "1", "name of the model"),
    Column("checkpoint", pa.string(), "1", "which checkpoint of a training, as it was named"),
    Column("module", pa.string(), "1", "name of the module that attends"),
    Column("block", pa.int16(), "1", "the first number in that name, -1 without one"),
    Column("head", pa.int16(), "1", "index of the head; -1 for all of them"),
    Column("heads", pa.int16(), "1", "how many heads the row is of"),
    Column("rows", pa.int64(), "rows", "that see at least half as many keys as the widest one: the same rows"),
    Column("keys", pa.float64(), "keys", "mean number that these rows see"),
    Column("effective_keys", pa.float64(), "keys", "exp(entropy), mean of the same rows"),
    Column("relative_jacobian", pa.float64(), "1", "jacobian_norm over that of an even row, mean of the same rows"),
    Column("logit_std_in_rows", pa.float64(), "1", "σ of logits about their row's mean, RMS over rows"),
    Column("centred_alignment", pa.float64(), "1", "centred_cosine times √d; 1 if q and k are independent"),
    Column("zone", pa.string(), "1", "`inside` the zone, `saturated` (too little gradient), `flat`, `unknown`"),
    Column("growth", pa.float64(), "1", "std over that of the first checkpoint"),
    Column("gamma_mean", pa.float64(), "1", "mean of the gamma of the norm before; not a number without one"),
    Column("gamma_std", pa.float64(), "1", "standard deviation of the same gamma"),
    Column("beta_mean", pa.float64(), "1", "mean of the beta of the norm before; not a number without one"),
    Column("beta_std", pa.float64(), "1", "standard deviation of the same beta"),
)}  # fmt: skip
"""Columns that the pipeline's tables don't have."""


def write(path: Path, table: str, frame: pd.DataFrame, parameters: Mapping[str, Any]) -> None:
    """Write a frame whose columns mean what they do in one of the pipeline's tables, `attention` or `weights`."""
    known = {column.name: column for column in TABLES[table][1]} | OWN
    fields, arrays = [], []
    for name in frame.columns:
        column = known[name]
        kind = pa.string() if pa.types.is_dictionary(column.type) else column.type
        fields.append(pa.field(name, kind, metadata={"unit": column.unit, "meaning": column.meaning}))
        arrays.append(pa.array(frame[name].to_numpy(), kind))
    metadata = {"table": table, "parameters": json.dumps(dict(parameters), sort_keys=True)}
    contents = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata))
    with files.atomic_file(path) as temporary, temporary.open("wb") as handle:
        pq.write_table(contents, handle, compression="zstd")


def may_be_replaced(path: Path) -> None:
    """Refuse to write a table over what is none: a model, a folder, a device.

    Raises:
        UserError: if something else is there.
    """
    if path.is_file():
        with path.open("rb") as handle:
            if handle.read(4) in (b"", b"PAR1"):
                return
    if path.exists():
        raise UserError(f"--out {path}: exists and is no Parquet file; name another one")
