"""GPT-2's byte-level byte-pair encoding, from a `vocab.json` and a `merges.txt`, whoever made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from goldilocks.core.cli import UserError

VOCAB, MERGES = "vocab.json", "merges.txt"
END_OF_TEXT = "<|endoftext|>"
LARGEST = 2**25  # bytes of either file; those of the largest vocabularies in use have a third of it


def _parsed(ids: Any, merges: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and the merges; ValueError if ids are missing or a merge does not join two tokens to a third."""
    if not isinstance(ids, dict) or any(type(i) is not int for i in ids.values()):
        raise ValueError("the vocabulary is not a mapping from tokens to ids")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError("the ids are not 0 … n-1")
    missing = set(pre_tokenizers.ByteLevel.alphabet()) - set(ids)
    if missing:
        raise ValueError(f"{len(missing)} of the 256 bytes have no token")
    pairs = []
    for number, line in enumerate(merges.split("\n"), 1):
        if line and not (number == 1 and line.startswith("#version")):
            left, _, right = line.partition(" ")
            if not {left, right, left + right} <= ids.keys():
                raise ValueError(f"line {number} of {MERGES} does not join two tokens to a third")
            pairs.append((left, right))
    return ids, pairs


def load(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`: text to ids without special tokens, and ids to text without loss.

    Raises:
        UserError: if a file is missing, too large or damaged, the ids are not 0 … n-1, a byte has no token, or a merge
            does not join two tokens.
    """
    vocab, merges = folder / VOCAB, folder / MERGES
    for path in (vocab, merges):
        if not path.is_file():
            raise UserError(f"{path}: no such file; a tokenizer is a vocab.json and a merges.txt")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: more than {LARGEST:,} bytes")
    try:
        model = models.BPE(*_parsed(json.loads(vocab.read_text("utf-8")), merges.read_text("utf-8")))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{folder}: not a byte-level BPE tokenizer: {' '.join(str(error).split())}") from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
