"""What do fp32, bf16 and fp16 make of these numbers? At which dimension does each break, and what keeps it whole?

The model of arithmetic: q and k are rounded to the format, and then every operation (the dot product, the division by
√d, the subtraction of the maximum, the exponential, the sum, the division) is exact and rounded once, to nearest, ties
to even. What shows is therefore a limit of the format, not of an implementation or a processor; real kernels round more
often, and the errors of their running sums come on top. Exact means float64 here, whose own rounding is 2⁻²⁹ of fp32's:
only where it decides a tie could another processor find something else.

What to expect. exp rounds to infinity above ln(largest), to a subnormal number below ln(smallest normal), and to zero
below ln(smallest subnormal / 2):

    fp32   88.72   -87.34   -103.97
    bf16   88.72   -87.34    -92.88
    fp16   11.09    -9.70    -17.33

So the naive softmax, exp(z) / Σexp(z), lasts until a logit passes the first of these. A key that equals q has q·k =
|q|² ≈ d: unscaled it passes at d ≈ ln(largest), scaled by 1/√d at d ≈ ln(largest)², which is 123 in fp16 and 7,871 in
the others. Independent q and k have logits of standard deviation √d, whose largest pass too; scaled, it is 1, and they
never do. Subtracting the row's maximum first leaves exp no argument above 0 at any scale, and what then underflows is
small beside the largest term, which is 1. Neither helps where the dot product itself passes the largest number, as |q|²
does in fp16 from d = 65,536 on.

Precision is another matter. Rounding moves a logit in proportion to its size, so whether a row's two largest become
equal hardly depends on d or on the scaling: in bf16 it is about one row in fifty, in fp16 an eighth of that, and at
which d that appears first is chance. What it does to the probabilities depends on the absolute error of the logits,
which grows as √d where nothing is scaled.

Reads:  parameters only.
Writes: data/formats.parquet, reports/metrics/formats.json

example: python -m stages.formats
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from stages.common import cli, files, params, streams, tables
from stages.common.floats import FLOAT64, FORMATS, Format, last_representable, rounded_to
from stages.common.progress import Progress
from stages.config.formats import Run, Settings

OUTPUT = files.DATA / "formats.parquet"
CHUNK_ELEMENTS = 2**14  # of vectors, so that a processor's caches hold them
SHOWN_DIMENSION = 16_384  # where the metrics tell how large dot products of independent vectors get


REFERENCE = "float64"

SCALINGS = {"unscaled": 0.0, "scaled": 0.5}
"""To which power of d the dot products are divided by it."""

SUBTRACTED = {"naive": False, "subtracted": True}
"""Whether softmax first subtracts the row's maximum."""

KEYS = {"independent": slice(1, None), "aligned": slice(0, -1)}
"""Which columns of `dot_products` are the row's: all keys independent of q, or the first one equal to it."""

FAILURES = (
    "dot_product_overflow", "exp_overflow", "sum_overflow", "not_finite", "subnormal_exp", "zero_exp", "equal_logits",
)  # fmt: skip
"""The columns of the table that are shares of rows in which something fails."""


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


def measured_thresholds(number_format: Format) -> dict[str, float]:
    """The format's last arguments whose rounded exp is still finite, still normal and still not zero."""

    def exp(x: float) -> float:
        return float(rounded_to(np.exp(x), number_format))

    with np.errstate(over="ignore"):
        return {
            "overflow": last_representable(lambda x: exp(x) < np.inf, number_format),
            "subnormal": -last_representable(lambda x: exp(-x) >= number_format.smallest_normal, number_format),
            "zero": -last_representable(lambda x: exp(-x) > 0, number_format),
        }


def dot_products(
    root_seed: int, rows: int, keys: int, d: int, progress: Progress | None = None
) -> dict[str, np.ndarray]:
    """|q|² and q·k of vectors with N(0, 1) entries, exact, of the vectors as drawn and as rounded to each format.

    The vectors are drawn and forgotten chunk by chunk, so that memory does not grow with d. The stream of this d
    yields them entry by entry of all vectors, so the chunks change no draw.

    Returns:
        {REFERENCE and each format: (rows, 1 + keys)}, |q|² in the first column; `KEYS` says which belong together.
    """
    stream = streams.generator(root_seed, "formats/vectors", d)
    chunk = max(1, CHUNK_ELEMENTS // (rows + keys))
    sums = {name: np.zeros((rows, 1 + keys)) for name in (REFERENCE, *FORMATS)}
    for start in range(0, d, chunk):
        vectors = stream.standard_normal((min(chunk, d - start), rows + keys))  # (chunk, rows + keys)
        for name, total in sums.items():
            x = rounded_to(vectors, FORMATS[name]) if name in FORMATS else vectors
            q, k = x[:, :rows], x[:, rows:]
            total[:, 0] += np.einsum("ij,ij->j", q, q)
            total[:, 1:] += q.T @ k
        if progress:
            progress.add(vectors.size)
    return sums


class Softmax(NamedTuple):
    """What a softmax computes on its way, for logits (rows, keys)."""

    arguments: np.ndarray
    """The logits, less the row's maximum if that is subtracted: (rows, keys)."""

    exp: np.ndarray
    """(rows, keys)."""

    total: np.ndarray
    """Their sum, (rows, 1)."""

    probabilities: np.ndarray
    """(rows, keys)."""


def softmax(z: np.ndarray, number_format: Format, subtract: bool) -> Softmax:
    """Softmax over the last axis of z (rows, keys), each operation rounded to the format."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the failures looked for
        arguments = rounded_to(z - z.max(-1, keepdims=True), number_format) if subtract else z
        exp = rounded_to(np.exp(arguments), number_format)
        total = rounded_to(exp.sum(-1, keepdims=True), number_format)
        return Softmax(arguments, exp, total, rounded_to(exp / total, number_format))


def outcome(
    products: np.ndarray, exact: np.ndarray, expected: np.ndarray, divisor: float, number_format: Format, subtract: bool
) -> dict[str, float | int]:
    """What becomes of softmax in a format: shares of rows, or of entries where named so.

    Args:
        products: (rows, keys) dot products of the rounded vectors.
        exact: (rows, keys) logits of the vectors as drawn.
        expected: (rows, keys) their softmax.
    """
    dots = rounded_to(products, number_format)
    z = rounded_to(dots / divisor, number_format)
    found = softmax(z, number_format, subtract)
    p = found.probabilities
    row = np.arange(len(z))
    second, first = exact.argsort(-1)[:, -2:].T  # where the two largest are
    subnormal = (found.exp > 0) & (found.exp < number_format.smallest_normal)
    zero = found.exp == 0
    exp_overflow = (np.isinf(found.exp) & np.isfinite(found.arguments)).any(-1)
    finite = np.isfinite(p).all(-1)
    error = np.abs(p[row, first] / expected[row, first] - 1)[finite]
    distance = 0.5 * np.abs(p - expected).sum(-1)[finite]
    return {
        "dot_product_overflow": np.isinf(dots).any(-1).mean(),
        "exp_overflow": exp_overflow.mean(),
        "sum_overflow": (np.isinf(found.total[:, 0]) & np.isfinite(found.exp).all(-1)).mean(),
        "not_finite": 1 - finite.mean(),
        "subnormal_exp": subnormal.any(-1).mean(),
        "zero_exp": zero.any(-1).mean(),
        "equal_logits": ((z[row, first] == z[row, second]) & (exact[row, first] > exact[row, second])).mean(),
        "subnormal_entries": subnormal.mean(),
        "zero_entries": zero.mean(),
        "finite_rows": int(finite.sum()),
        "relative_error": np.median(error) if error.size else np.nan,
        "total_variation": distance.mean() if distance.size else np.nan,
        "largest_total_variation": distance.max() if distance.size else np.nan,
    }


def outcomes(dots: dict[str, np.ndarray], d: int) -> Iterator[dict[str, Any]]:
    """A line of the table for each format, scaling, softmax and kind of keys, of the `dot_products` at one d."""
    for (kind, columns), (scaling, power) in product(KEYS.items(), SCALINGS.items()):
        divisor = float(d) ** power
        exact = dots[REFERENCE][:, columns] / divisor
        expected = softmax(exact, FLOAT64, subtract=True).probabilities
        for (name, number_format), (way, subtract) in product(FORMATS.items(), SUBTRACTED.items()):
            where = {"format": name, "scaling": scaling, "softmax": way, "keys": kind, "dimension": d}
            yield where | outcome(dots[name][:, columns], exact, expected, divisor, number_format, subtract)


def softmax_work(rows: int, keys: int) -> int:
    """What all softmaxes at one d cost, counted in entries of vectors drawn and rounded: about three for each logit."""
    return 3 * len(FORMATS) * len(SCALINGS) * len(SUBTRACTED) * len(KEYS) * rows * keys


def first_dimension(dimensions: list[int], shares: list[float], appears: float) -> int:
    """The smallest dimension at which a share is at least `appears`; 0 if there is none."""
    return min((d for d, share in zip(dimensions, shares, strict=True) if share >= appears), default=0)


def first_dimensions(lines: list[dict[str, Any]], appears: float) -> dict[str, Any]:
    """{format: {scaling: {softmax: {keys: {first_FAILURE: d}}}}} from all lines of the table."""
    found: dict[str, Any] = {}
    for names in product(FORMATS, SCALINGS, SUBTRACTED, KEYS):
        chosen = [e for e in lines if (e["format"], e["scaling"], e["softmax"], e["keys"]) == names]
        dimensions = [e["dimension"] for e in chosen]
        place = found
        for name in names:
            place = place.setdefault(name, {})
        for failure in FAILURES:
            place[f"first_{failure}"] = first_dimension(dimensions, [e[failure] for e in chosen], appears)
    return found


def main() -> None:
    cli.no_arguments(__doc__, "stages.formats")
    settings, run = params.load("formats", Settings, Run)
    rows, keys = settings.rows, settings.keys
    dimensions = [2**power for power in range(1, settings.widest.bit_length())]
    shown = min(SHOWN_DIMENSION, settings.widest)
    lines: list[dict[str, Any]] = []
    total = sum(dimensions) * (rows + keys) + len(dimensions) * softmax_work(rows, keys)
    with Progress("formats", total, "number") as progress:
        for d in dimensions:
            dots = dot_products(run.root_seed, rows, keys, d, progress)
            lines += outcomes(dots, d)
            progress.add(softmax_work(rows, keys))
            if d == shown:
                largest = np.abs(dots[REFERENCE][:, KEYS["independent"]]).max()

    columns = {name: [line[name] for line in lines] for name in lines[0]}
    tables.write(OUTPUT, "formats", columns, {"formats": settings.model_dump(), "run": run.model_dump()})
    thresholds = {
        name: {"derived": exp_thresholds(f), "measured": measured_thresholds(f)} for name, f in FORMATS.items()
    }
    files.write_metrics(
        "formats",
        first_dimensions(lines, settings.appears)
        | {"exp_thresholds": thresholds, "independent_dot_products": {"dimension": shown, "largest": largest}},
    )


if __name__ == "__main__":
    cli.run(main)
