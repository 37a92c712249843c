"""GPT-2's byte-level byte-pair encoding, from a `vocab.json` and a `merges.txt`, whoever made them."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from stages.common.cli import UserError

END_OF_TEXT = "<|endoftext|>"


def load(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`: text to ids without special tokens; ids to text loses nothing.

    Raises:
        UserError: if a file is missing, damaged, or the ids are not 0 … n-1.
    """
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    for path in (vocab, merges):
        if not path.is_file():
            raise UserError(f"{path}: no such file; a tokenizer is a vocab.json and a merges.txt")
    try:
        ids = json.loads(vocab.read_text("utf-8"))
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("the ids are not 0 … n-1")
        model = models.BPE.from_file(str(vocab), str(merges))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{folder}: not a byte-level BPE tokenizer: {' '.join(str(error).split())}") from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
