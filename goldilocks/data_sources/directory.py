"""A directory as source: `corpus.txt`, and `gpt2/` with `vocab.json`, `merges.txt` and `model.safetensors`.

That is the layout of a checkout from a model hub beside a text. The path differs between machines, so
provenance records the contents and not the path.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from goldilocks.checkpoints.folders import WHOLE_MODEL, LocalFolder
from goldilocks.checkpoints.ranges import LFS_POINTER, LFS_PROBLEM, Tally
from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.data_sources import layout

MODEL = "gpt2"


def wanted(source: Path) -> list[Path]:
    """The files that a source must hold."""
    return [source / layout.CORPUS, *(source / MODEL / name for name in (*layout.TOKENIZER_FILES, WHOLE_MODEL))]


def problems(source: Path) -> Iterator[str]:
    """A line for each file that is missing or a Git LFS pointer, and for the first pipes or devices: DVC would hang."""
    for path in wanted(source):
        if not path.is_file():
            yield f"{path}: no such file"
            continue
        with path.open("rb") as handle:
            if handle.read(len(LFS_POINTER)) == LFS_POINTER:
                yield f"{path}: {LFS_PROBLEM}"
    below = (Path(folder, name) for folder, _, names in os.walk(source) for name in names)
    irregular = (path for path in below if path.exists() and not path.is_file())
    yield from (f"{path}: neither a file nor a folder" for path in itertools.islice(irregular, 3))


def fetch(folder: Path, source: Path) -> list[layout.Origin]:
    """Copy text, tokenizer and norm tensors from `source` to `folder`; returns their provenance.

    Raises:
        UserError: a line for each file that is missing; or if one is unusable.
    """
    if wrong := list(problems(source)):
        raise UserError(*(f"inputs.source = {source}: {problem}" for problem in wrong))
    text = layout.readable_text((source / layout.CORPUS).read_bytes(), str(source / layout.CORPUS))
    files.write_text(folder / layout.CORPUS, text)
    extraction = layout.fetch_model(folder, MODEL, LocalFolder(source / MODEL, Tally()))
    layout.write_checkpoint(folder, extraction, "local directory")
    return [
        layout.describe(path, path.relative_to(source).as_posix(), "local directory", "as found")
        for path in wanted(source)
    ]
