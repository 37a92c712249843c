"""A directory as source: `corpus.txt`, and `gpt2/` with `vocab.json`, `merges.txt` and `model.safetensors`.

That is the layout of a checkout from a model hub beside a text. The path differs between machines, so
provenance records the contents and not the path.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import LFS_PROBLEM, Tally, is_lfs_pointer
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.data_sources.layout import (
    CORPUS,
    TOKENIZER,
    TOKENIZER_FILES,
    Origin,
    describe,
    readable_text,
    write_checkpoint,
)

MODEL = "gpt2"
WEIGHTS = "model.safetensors"


def wanted(source: Path) -> list[Path]:
    """The files that a source must hold."""
    return [source / CORPUS, *(source / MODEL / name for name in (*TOKENIZER_FILES, WEIGHTS))]


def problems(source: Path) -> Iterator[str]:
    """A line for each file that is missing or a Git LFS pointer, and for the first pipes or devices: DVC would hang."""
    for path in wanted(source):
        if not path.is_file():
            yield f"{path}: no such file"
        elif is_lfs_pointer(path):
            yield f"{path}: {LFS_PROBLEM}"
    below = (Path(folder, name) for folder, _, names in os.walk(source) for name in names)
    irregular = (path for path in below if path.exists() and not path.is_file())
    yield from (f"{path}: neither a file nor a folder" for path in itertools.islice(irregular, 3))


def fetch(folder: Path, source: Path) -> list[Origin]:
    """Copy text, tokenizer and norm tensors from `source` to `folder`; returns their provenance.

    Raises:
        UserError: a line for each file that is missing; or if one is unusable.
    """
    if wrong := list(problems(source)):
        raise UserError(*(f"inputs.source = {source}: {problem}" for problem in wrong))
    files.write_text(folder / CORPUS, readable_text((source / CORPUS).read_bytes(), str(source / CORPUS)))
    (folder / TOKENIZER).mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / MODEL / name, folder / TOKENIZER / name)
    extraction = extract(Checkpoint(MODEL, LocalFolder(source / MODEL, Tally()), WEIGHTS))
    write_checkpoint(folder, extraction, "local directory")
    return [
        describe(path, path.relative_to(source).as_posix(), "local directory", "as found") for path in wanted(source)
    ]
