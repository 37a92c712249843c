"""The text as token ids, the first part for training and the last for testing.

Source: the article on weight initialisation (first 90 % train, last 10 % test). Token ids are stored in the smallest
unsigned type that holds the vocabulary.

Reads:  data/inputs/corpus.txt, data/inputs/tokenizer/
Writes: data/tokens/tokens.safetensors with tensors `train` and `test`, data/tokens/description.json,
        reports/metrics/tokens.json

example: python -m stages.tokens
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer

from stages.common import arrays, bpe, cli, files, params
from stages.config.tokens import Run, Settings

INPUTS = files.DATA / "inputs"
OUTPUT = files.DATA / "tokens"
PIECE = 2**20  # characters encoded at once: the tokenizer takes 200 bytes of memory for each
LONGEST = 2**24  # characters that may follow each other without a place to cut
CUT = re.compile(r"(?<=\S)[ \n]")  # no token of GPT-2's reaches from what is not blank into what is


def smallest_unsigned(vocabulary: int) -> np.dtype:
    """The smallest unsigned integer type that holds ids 0 … vocabulary - 1."""
    return np.min_scalar_type(vocabulary - 1)


def pieces(text: str) -> Iterator[str]:
    """The text in pieces whose tokens, one after another, are those of the whole text.

    Raises:
        UserError: if there is no place to cut it.
    """
    start = 0
    while start < len(text):
        cut = CUT.search(text, start + PIECE, start + LONGEST)
        if cut is None and len(text) - start > LONGEST:
            raise cli.UserError(
                f"{INPUTS / 'corpus.txt'}: {LONGEST:,} characters without the end of a word, from character {start:,} "
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


def main() -> None:
    cli.no_arguments(__doc__, "stages.tokens")
    settings, _ = params.load("tokens", Settings, Run)
    text = (INPUTS / "corpus.txt").read_bytes().decode("utf-8")
    tokenizer = bpe.load(INPUTS / "tokenizer")
    vocabulary = tokenizer.get_vocab_size()
    ids = encoded(text, tokenizer)
    train, test = split(ids, settings.train_share, settings.context_length)
    with files.atomic_directory(OUTPUT) as folder:
        arrays.write(folder / "tokens.safetensors", {"train": train, "test": test})
        files.write_json(
            folder / "description.json", {"context_length": settings.context_length, "vocabulary": vocabulary}
        )
    files.write_metrics(
        "tokens",
        {
            "vocabulary": vocabulary,
            "train_tokens": train.size,
            "test_tokens": test.size,
            "characters_per_token": len(text) / ids.size,
            "distinct_tokens_used": np.unique(ids).size,
        },
    )


if __name__ == "__main__":
    cli.run(main)
