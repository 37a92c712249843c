import json

import numpy as np
import pytest
from test_inputs import local_source, point_at

from goldilocks.core import arrays, bpe
from goldilocks.core import encoding as tokens
from goldilocks.core.cli import UserError
from goldilocks.data_sources import embedded


def test_the_smallest_unsigned_type_holds_the_vocabulary():
    found = [str(np.dtype(tokens.smallest_unsigned(vocabulary))) for vocabulary in (256, 257, 65536, 65537)]
    assert found == ["uint8", "uint16", "uint16", "uint32"]


def test_the_split_is_in_order_and_loses_nothing_and_a_context_longer_than_the_text_is_refused():
    ids = np.arange(101)
    train, test = tokens.split(ids, 0.9, 4)
    np.testing.assert_array_equal(np.concatenate([train, test]), ids)
    assert (train.size, test.size) == (90, 11)
    tokens.split(np.arange(100), 0.9, 9)
    with pytest.raises(UserError, match=r"tokens\.context_length = 10: the test part of the text has only 10 tokens"):
        tokens.split(np.arange(100), 0.9, 10)


def encoded(bare, source, stage, *settings):
    """What a stage encodes: the ids of its parts, the text that they decode to, and the size of the vocabulary."""
    point_at(bare, local_source(source))
    bare.configure("tokens.context_length=16", *settings)
    for name in ("inputs", stage):
        done = bare.here(name)
        assert done.returncode == 0, done.stderr
    parts = arrays.read(bare.folder / "data" / stage / "tokens.safetensors")
    tokenizer = bpe.load(bare.folder / "data" / "inputs" / "tokenizer")
    text = tokenizer.decode(np.concatenate([parts["train"], parts["test"]]).tolist())
    return parts["train"], parts["test"], text, tokenizer.get_vocab_size()


def test_tokens_decode_to_the_text(bare, tmp_path):
    train, test, text, _ = encoded(bare, tmp_path / "source", "tokens")
    assert train.dtype == np.uint16
    assert text == bare.read("data/inputs/corpus.txt")
    metrics = json.loads(bare.read("reports/metrics/tokens.json"))
    assert (metrics["train_tokens"], metrics["test_tokens"]) == (train.size, test.size)
    bare.configure("tokens.context_length=60000")
    before = bare.read("data/tokens/description.json")
    refused = bare.here("tokens")
    assert refused.returncode == 2
    assert "lower it, or give a longer text" in refused.stderr
    assert bare.read("data/tokens/description.json") == before


def test_the_second_text_is_of_another_package_and_has_the_tokens_of_the_first(bare, tmp_path):
    of_package = ("second_text.package=numpy", "second_text.subpackages=[fft]")
    train, test, text, vocabulary = encoded(bare, tmp_path / "source", "second_text", *of_package)
    assert text == embedded.prose("numpy", ["fft"])
    assert "Fourier" in text
    assert train.size == int(0.9 * (train.size + test.size))
    description = json.loads(bare.read("data/second_text/description.json"))
    assert description == {"context_length": 16, "vocabulary": vocabulary}
