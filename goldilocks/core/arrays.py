"""Files of arrays by name, in the safetensors format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from goldilocks.core import files
from goldilocks.core.cli import UserError


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays as one safetensors file; the library orders tensors, but metadata of one entry only."""
    contents = save(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        metadata=dict(metadata) if metadata else None,
    )
    files.write_bytes(path, contents)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read every array of a safetensors file, in the order of their names.

    Raises:
        UserError: if it is missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that makes it, or check the path")
    try:
        return dict(sorted(load_file(path).items()))
    except SafetensorError as error:
        raise UserError(f"{path}: not a sound safetensors file ({error}); fetch or make it again") from error
