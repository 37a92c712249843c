"""The text as token ids, the first part for training and the last for testing.

Source: the article on weight initialisation (first 90 % train, last 10 % test).

Reads:  data/inputs/corpus.txt, data/inputs/tokenizer/
Writes: data/tokens/tokens.safetensors with tensors `train` and `test`, data/tokens/description.json,
        reports/metrics/tokens.json

example: python -m stages.tokens
"""

from __future__ import annotations

import numpy as np

from goldilocks.config.tokens import Settings
from goldilocks.core import bpe, cli, encoding, files, params
from goldilocks.core.params import Section as Run

INPUTS = files.DATA / "inputs"
OUTPUT = files.DATA / "tokens"


def main() -> None:
    cli.no_arguments(__doc__, "stages.tokens")
    settings, _ = params.load("tokens", Settings, Run)
    text = (INPUTS / "corpus.txt").read_bytes().decode("utf-8")
    tokenizer = bpe.load(INPUTS / "tokenizer")
    vocabulary = tokenizer.get_vocab_size()
    ids = encoding.encoded(text, tokenizer)
    train, test = encoding.split(ids, settings.train_share, settings.context_length)
    encoding.write(OUTPUT, train, test, settings.context_length, vocabulary)
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
