"""The losses of unigram and bigram models on the same windows, which a model that has learned more must beat."""

from __future__ import annotations

import numpy as np

ADDED = 0.5  # added to each token's count


def losses(train: np.ndarray, windows: np.ndarray, vocabulary: int) -> dict[str, float]:
    """Mean cross-entropy in nats/token over all tokens of the windows except the first of each.

    The unigram model adds one half to each count. The bigram model adds to the counts c(hw) of a
    token w after h as many counts, shared out as the unigram model says, as h has different followers (Witten & Bell
    1991): p(w|h) = (c(hw) + T(h) p(w)) / (c(h) + T(h)).

    Args:
        train: token ids that are counted, (n,).
        windows: (N, T + 1).
    """
    before, after = (windows[:, part].ravel().astype(np.int64) for part in (slice(None, -1), slice(1, None)))
    counts = np.bincount(train, minlength=vocabulary)
    unigram = (counts[after] + ADDED) / (train.size + ADDED * vocabulary)

    pairs, of_pair = np.unique(train[:-1].astype(np.int64) * vocabulary + train[1:], return_counts=True)
    seen = np.bincount(train[:-1], minlength=vocabulary)[before]  # c(h)
    followers = np.bincount(pairs // vocabulary, minlength=vocabulary)[before]  # T(h)
    wanted = before * vocabulary + after
    place = np.minimum(pairs.searchsorted(wanted), pairs.size - 1)
    together = np.where(pairs[place] == wanted, of_pair[place], 0)  # c(hw)
    bigram = (together + followers * unigram) / np.maximum(seen + followers, 1)
    bigram = np.where(seen > 0, bigram, unigram)
    return {name: float(-np.log(p).mean()) for name, p in (("unigram", unigram), ("bigram", bigram))}
