"""What counting reaches, against counting slowly."""

import itertools
import math

import numpy as np
import pytest

from goldilocks.model5 import ngrams

VOCABULARY = 7  # of which 5 occurs only at the end, so nothing follows it, and 6 never
TEXT = [0, 1, 0, 2, 0, 1, 1, 3, 0, 1, 4, 2, 2, 0, 5]
WINDOWS = np.array([[0, 1, 2, 0], [5, 0, 6, 6], [3, 0, 0, 4], [6, 5, 5, 1]])


def slowly(text, windows):
    """The mean cross-entropies of both models, token by token."""

    def unigram(w):
        return (text.count(w) + 0.5) / (len(text) + 0.5 * VOCABULARY)

    def bigram(h, w):
        after = [b for a, b in itertools.pairwise(text) if a == h]
        kinds = len(set(after))
        return (after.count(w) + kinds * unigram(w)) / (len(after) + kinds) if after else unigram(w)

    pairs = [pair for window in windows.tolist() for pair in itertools.pairwise(window)]
    return {
        "unigram": -sum(math.log(unigram(w)) for _, w in pairs) / len(pairs),
        "bigram": -sum(math.log(bigram(h, w)) for h, w in pairs) / len(pairs),
    }


@pytest.mark.parametrize("kind", [np.uint16, np.int64])
def test_losses_are_those_of_counting_slowly_whatever_was_never_seen(kind):
    found = ngrams.losses(np.array(TEXT, kind), WINDOWS.astype(kind), VOCABULARY)
    assert found == pytest.approx(slowly(TEXT, WINDOWS), rel=1e-12)


def test_after_every_context_the_bigram_model_shares_out_one():
    text = np.array(TEXT)
    for before in range(VOCABULARY):
        p = [math.exp(-ngrams.losses(text, np.array([[before, w]]), VOCABULARY)["bigram"]) for w in range(VOCABULARY)]
        assert sum(p) == pytest.approx(1, rel=1e-12)
        assert min(p) > 0


def test_pairs_in_a_large_vocabulary_are_not_confused():
    text = np.array([60_000, 65_000, 60_000, 65_001] * 5, np.uint16)
    found = ngrams.losses(text, np.array([[60_000, 65_000]], np.uint16), 65_536)
    unigram = 5.5 / (20 + 0.5 * 65_536)
    assert found["bigram"] == pytest.approx(-math.log((5 + 2 * unigram) / (10 + 2)), rel=1e-12)
