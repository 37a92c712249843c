"""In which rows softmax fails in a number format, and how large their share is.

Every operation is exact and rounded once. Each of these failures depends only on a row's smallest and two largest
logits, so only those are kept. That leaves time for many rows, and so for a narrow interval of their share. Each row
has its own keys, since rows that share keys fail together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from goldilocks.core import rng
from goldilocks.softmax import drawn_rows
from goldilocks.softmax.floats import FORMATS, Format, rounded_to
from goldilocks.softmax.scalings import EXPONENTS
from goldilocks.stats import intervals
from goldilocks.stats.intervals import Estimate

LOGITS = 2**18  # drawn at a time

SCALINGS = ("unscaled", "scaled")
"""Those that are compared."""

SUBTRACTED = {"naive": False, "subtracted": True}
"""Whether softmax first subtracts the row's maximum."""

CORRELATIONS = {"independent": 0.0, "aligned": 1.0}
"""The kinds of keys, by the correlation of q with the first one: all independent of q, or the first one equal to it."""

FAILURES = ("dot_product_overflow", "exp_overflow", "not_finite", "zero_exp", "equal_logits")
"""What a row's smallest and two largest logits decide, as long as no more than one dot product overflows."""


class Softmax(NamedTuple):
    """What a softmax computes on its way, for logits (rows, keys)."""

    arguments: np.ndarray  # (rows, keys) the logits, less the row's maximum if that is subtracted
    exp: np.ndarray  # (rows, keys)
    total: np.ndarray  # (rows, 1) their sum
    probabilities: np.ndarray  # (rows, keys)


def softmax(z: np.ndarray, number_format: Format, subtract: bool) -> Softmax:
    """Softmax over the last axis of z (rows, keys), each operation rounded to the format."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the failures looked for
        arguments = rounded_to(z - z.max(-1, keepdims=True), number_format) if subtract else z
        exp = rounded_to(np.exp(arguments), number_format)
        total = rounded_to(exp.sum(-1, keepdims=True), number_format)
        return Softmax(arguments, exp, total, rounded_to(exp / total, number_format))


def exp_thresholds(number_format: Format) -> dict[str, float]:
    """Above which x exp(x) rounds to infinity, below which to a subnormal number, and to zero.

    Derived from the format alone: each is the logarithm of the halfway point between two neighbours, where rounding
    changes sides: the largest number and the power of two after it, the smallest normal and the largest subnormal one,
    the smallest subnormal one and 0.
    """
    half_ulp = number_format.largest / (2.0**number_format.precision - 1) / 2
    half_subnormal = number_format.smallest_subnormal / 2
    return {
        "overflow": float(np.log(number_format.largest + half_ulp)),
        "subnormal": float(np.log(number_format.smallest_normal - half_subnormal)),
        "zero": float(np.log(half_subnormal)),
    }


def failures(
    products: np.ndarray, exact: np.ndarray, divisor: float, number_format: Format, subtract: bool
) -> tuple[dict[str, np.ndarray], Softmax]:
    """In which rows what fails, and the softmax that shows it.

    Args:
        products: (rows, keys) dot products.
        exact: (rows, keys) logits that nothing is rounded in.

    Returns:
        {each of `FAILURES`: (rows,) of bool}.
    """
    dots = rounded_to(products, number_format)
    z = rounded_to(dots / divisor, number_format)
    computed = softmax(z, number_format, subtract)
    row = np.arange(len(z))
    second, first = exact.argsort(-1)[:, -2:].T  # where the two largest are
    failed = {
        "dot_product_overflow": np.isinf(dots).any(-1),
        "exp_overflow": (np.isinf(computed.exp) & np.isfinite(computed.arguments)).any(-1),
        "not_finite": ~np.isfinite(computed.probabilities).all(-1),
        "zero_exp": (computed.exp == 0).any(-1),
        "equal_logits": (z[row, first] == z[row, second]) & (exact[row, first] > exact[row, second]),
    }
    return failed, computed


def outcome(
    products: np.ndarray, exact: np.ndarray, expected: np.ndarray, divisor: float, number_format: Format, subtract: bool
) -> dict[str, float | int]:
    """What becomes of softmax in a format: shares of rows, or of entries where named so.

    Args:
        products: (rows, keys) dot products of the rounded vectors.
        exact: (rows, keys) logits of the vectors as drawn.
        expected: (rows, keys) their softmax.
    """
    failed, computed = failures(products, exact, divisor, number_format, subtract)
    p = computed.probabilities
    row, first = np.arange(len(p)), exact.argmax(-1)
    subnormal = (computed.exp > 0) & (computed.exp < number_format.smallest_normal)
    zero = computed.exp == 0
    finite = ~failed["not_finite"]
    error = np.abs(p[row, first] / expected[row, first] - 1)[finite]
    distance = 0.5 * np.abs(p - expected).sum(-1)[finite]
    return {name: rows.mean() for name, rows in failed.items()} | {
        "sum_overflow": (np.isinf(computed.total[:, 0]) & np.isfinite(computed.exp).all(-1)).mean(),
        "subnormal_exp": subnormal.any(-1).mean(),
        "subnormal_entries": subnormal.mean(),
        "zero_entries": zero.mean(),
        "finite_rows": int(finite.sum()),
        "relative_error": np.median(error) if error.size else np.nan,
        "total_variation": distance.mean() if distance.size else np.nan,
        "largest_total_variation": distance.max() if distance.size else np.nan,
    }


def drawn_extremes(root_seed: int, queries: int, keys: int, d: int) -> Iterator[dict[str, np.ndarray]]:
    """The smallest and the two largest dot products of each query with its own keys, chunk by chunk.

    The streams of this d are read in order, so the chunks change no draw.

    Returns:
        {each of `CORRELATIONS`: (queries of the chunk, 3)}.
    """
    query, key = (rng.generator(root_seed, f"formats/{name}", d) for name in ("query", "keys"))
    chunk = max(1, LOGITS // keys)
    for start in range(0, queries, chunk):
        drawn = drawn_rows.draw(query, key, d, keys, list(CORRELATIONS.values()), min(chunk, queries - start))
        others = drawn.below + drawn.largest[:, None]
        dots = {kind: np.column_stack([first, others]) for kind, first in zip(CORRELATIONS, drawn.first, strict=True)}
        yield {kind: np.partition(of, (0, keys - 2), axis=-1)[:, [0, -2, -1]] for kind, of in dots.items()}


def shares(root_seed: int, queries: int, keys: int, d: int) -> dict[tuple[str, ...], dict[str, Estimate]]:
    """{(format, scaling, softmax, keys): {each of `FAILURES`: share of the queries}} at one d."""
    counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for extremes in drawn_extremes(root_seed, queries, keys, d):
        for names in product(FORMATS, SCALINGS, SUBTRACTED, CORRELATIONS):
            name, scaling, way, kind = names
            dots, divisor = extremes[kind], float(d) ** EXPONENTS[scaling]
            failed, _ = failures(dots, dots / divisor, divisor, FORMATS[name], SUBTRACTED[way])
            counts[names].update({failure: int(of_rows.sum()) for failure, of_rows in failed.items()})
    return {
        names: {failure: intervals.share_interval(count, queries) for failure, count in of_names.items()}
        for names, of_names in counts.items()
    }


def bracket(by_dimension: dict[int, Estimate], appears: float) -> tuple[int, int]:
    """Up to which dimension a share is surely below `appears` at each, and at which it is first surely above it.

    What lies between them the interval does not decide; 0 if there is no such dimension.
    """
    not_below = [d for d, share in by_dimension.items() if share.high >= appears]
    without = [d for d in by_dimension if d < min(not_below, default=np.inf)]
    above = [d for d, share in by_dimension.items() if share.low > appears]
    return max(without, default=0), min(above, default=0)
