"""The layout that every source fills: a text, a tokenizer, perhaps checkpoints, and where each came from.

A filled folder holds `corpus.txt`, `tokenizer/vocab.json`, `tokenizer/merges.txt` and, for each checkpoint to survey,
`checkpoints/NAME/` with its norms as `model.safetensors`, and its `config.json` if it has one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors

from goldilocks.checkpoints.extract import Extraction, extract
from goldilocks.checkpoints.folders import WHOLE_MODEL, Folder
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.core import bpe, files
from goldilocks.core.cli import UserError

CORPUS = "corpus.txt"
TOKENIZER = "tokenizer"
CHECKPOINTS = "checkpoints"
WRITTEN = {"F32": "float32", "F16": "float16", "F64": "float64", "BF16": "bfloat16"}  # names in the safetensors library
TOKENIZER_FILES = (bpe.VOCAB, bpe.MERGES)


class Origin(NamedTuple):
    """One line of `provenance.json`: which input, where from, which revision, its size and SHA-256."""

    input: str
    origin: str
    revision: str
    bytes: int
    sha256: str


def describe(path: Path, name: str, origin: str, revision: str) -> Origin:
    """The provenance of an input that is the file `path`."""
    return Origin(name, origin, revision, path.stat().st_size, files.sha256(path))


def fetch_model(folder: Path, name: str, repository: Folder) -> Extraction:
    """Write the tokenizer of a repository into an inputs folder; returns the norms of its model."""
    (folder / TOKENIZER).mkdir()
    for file in TOKENIZER_FILES:
        (folder / TOKENIZER / file).write_bytes(repository.text(file))
    return extract(Checkpoint(name, repository, WHOLE_MODEL))


def write_checkpoint(folder: Path, extraction: Extraction, origin: str) -> Origin:
    """Write a checkpoint's norms into an inputs folder, as they were stored; returns their provenance.

    Tensors that are named like a norm but fit no rule are written without values, so that `layernorm` can list them.
    """
    name = f"{CHECKPOINTS}/{extraction.model}"
    stored = {tensor.name: (tensor.stored, tensor.raw) for tensor in extraction.tensors}
    stored |= dict.fromkeys(extraction.unrecognised, ("F32", np.empty(0, np.float32)))
    tensors = {
        tensor: safetensors.TensorSpec(
            dtype=WRITTEN[dtype], shape=[raw.size], data_ptr=raw.ctypes.data, data_len=raw.nbytes
        )
        for tensor, (dtype, raw) in stored.items()
    }
    (folder / name).mkdir(parents=True)
    path = folder / name / WHOLE_MODEL
    files.write_bytes(path, safetensors.serialize(tensors))
    if extraction.config is not None:
        files.write_json(folder / name / "config.json", extraction.config)
    return describe(path, name, f"norms of {origin}", extraction.revision or "as found")


def readable_text(contents: bytes, where: str) -> str:
    """The text of a corpus, without a byte-order mark and with `\\n` line ends.

    Raises:
        UserError: if it is not UTF-8, or empty.
    """
    try:
        text = contents.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text (byte {error.start}); convert it to UTF-8") from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise UserError(f"{where}: the text is empty")
    return text
