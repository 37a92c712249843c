"""A second text as token ids, so that ablations can show whether a result depends on the first.

It is the docstrings of another installed package, encoded with the tokenizer of the first text and split like it.

Reads:  data/inputs/tokenizer/
Writes: data/second_text/tokens.safetensors with tensors `train` and `test`, data/second_text/description.json

example: python -m stages.second_text
"""

from __future__ import annotations

from goldilocks.config import tokens
from goldilocks.config.second_text import Settings
from goldilocks.core import bpe, cli, encoding, files, params
from goldilocks.core.params import Section as Run
from goldilocks.data_sources import embedded

OUTPUT = files.DATA / "second_text"


def main() -> None:
    cli.no_arguments(__doc__, "stages.second_text")
    settings, _ = params.load("second_text", Settings, Run)
    usual, _ = params.load("tokens", tokens.Settings, Run)
    text = embedded.prose(settings.package, settings.subpackages, "second_text.subpackages")
    tokenizer = bpe.load(files.DATA / "inputs" / "tokenizer")
    ids = encoding.encoded(text, tokenizer)
    train, test = encoding.split(ids, usual.train_share, usual.context_length)
    encoding.write(OUTPUT, train, test, usual.context_length, tokenizer.get_vocab_size())


if __name__ == "__main__":
    cli.run(main)
