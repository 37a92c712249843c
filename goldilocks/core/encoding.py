"""A text as token ids, split into a training part and a test part.

Token ids are stored in the smallest unsigned type that holds the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from goldilocks.core import arrays, cli, files

PIECE = 2**20  # characters encoded at once: the tokenizer takes 200 bytes of memory for each
LONGEST = 2**24  # longest run of characters without a place to cut
CUT = re.compile(r"(?<=\S)[ \n]")  # no token of GPT-2 spans from a non-blank character to a blank one


def smallest_unsigned(vocabulary: int) -> np.dtype:
    """The smallest unsigned integer type that holds ids 0 … vocabulary - 1."""
    return np.min_scalar_type(vocabulary - 1)


def pieces(text: str) -> Iterator[str]:
    """The text in pieces whose tokens, concatenated, are those of the whole text.

    Raises:
        UserError: if there is no place to cut it.
    """
    start = 0
    while start < len(text):
        cut = CUT.search(text, start + PIECE, start + LONGEST)
        if cut is None and len(text) - start > LONGEST:
            raise cli.UserError(
                f"text: {LONGEST:,} characters without the end of a word, from character {start:,} "
                "on, are more than a tokenizer can take at once"
            )
        stop = cut.start() if cut else len(text)
        yield text[start:stop]
        start = stop


def encoded(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """The token ids (n,) of a text, in the smallest type that holds the vocabulary."""
    dtype = smallest_unsigned(tokenizer.get_vocab_size())
    return np.concatenate([np.array(tokenizer.encode_batch_fast([piece])[0].ids, dtype) for piece in pieces(text)])


def split(ids: np.ndarray, train_share: float, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut ids (n,) into train and test, in order.

    Raises:
        UserError: if a part is too short for one window of context_length + 1 tokens.
    """
    cut = int(ids.size * train_share)
    parts = ids[:cut], ids[cut:]
    for name, part in zip(("train", "test"), parts, strict=True):
        if part.size < context_length + 1:
            raise cli.UserError(
                f"params.yaml: tokens.context_length = {context_length}: the {name} part of the text has only "
                f"{part.size} tokens, one window takes {context_length + 1}; lower it, or give a longer text"
            )
    return parts


def write(folder: Path, train: np.ndarray, test: np.ndarray, context_length: int, vocabulary: int) -> None:
    """Write both parts and their description to a folder, atomically."""
    with files.atomic_directory(folder) as made:
        arrays.write(made / "tokens.safetensors", {"train": train, "test": test})
        files.write_json(made / "description.json", {"context_length": context_length, "vocabulary": vocabulary})
