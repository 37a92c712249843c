"""What a source delivers: a text, a tokenizer, perhaps checkpoints, and where each came from.

A filled folder holds `corpus.txt`, `tokenizer/vocab.json`, `tokenizer/merges.txt` and, for each checkpoint to survey,
`NAME.safetensors` with its LayerNorm tensors only.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stages.common import bpe, files
from stages.common.cli import UserError

CORPUS = "corpus.txt"
TOKENIZER = "tokenizer"
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
