"""What do fp32, bf16 and fp16 make of these numbers? At which dimension does each break, and what keeps it whole?

The model of arithmetic: q and k are rounded to the format, and then every operation (the dot product, the division by
√d, the subtraction of the maximum, the exponential, the sum, the division) is exact and rounded once, to nearest, ties
to even. So the result is a limit of the format and of no implementation; real kernels round more often. Exact means
float64 here, whose own rounding is 2⁻²⁹ of fp32's.

exp rounds to infinity above ln(largest), to a subnormal number below ln(smallest normal), and to zero below
ln(smallest subnormal / 2):

    fp32   88.72   -87.34   -103.97
    bf16   88.72   -87.34    -92.88
    fp16   11.09    -9.70    -17.33

The naive softmax, exp(z) / Σexp(z), lasts until a logit passes ln(largest). A key that equals q has q·k = |q|² ≈ d:
unscaled it passes at d ≈ ln(largest), scaled by 1/√d at d ≈ ln(largest)², which is 123 in fp16 and 7,871 in the others.
Logits of independent q and k have the standard deviation √d and pass too; scaled, it is 1, and they never do. If the
row's maximum is subtracted first, exp has no argument above 0 at any scale. Nothing helps where the dot product itself
passes the largest number, as |q|² does in fp16 from d = 65,536 on.

Shares of rows are over many rows, each with keys of its own, since rows that share keys fail together; their intervals
are exact (Clopper and Pearson 1934). `goldilocks/softmax/failures.py` draws their logits without vectors, so no vector
is rounded; that moves no share visibly. Errors, and shares of entries, are over fewer rows, whose vectors are rounded.

Rounding moves a logit in proportion to its size, so whether a row's two largest become equal hardly depends on d or on
the scaling: in bf16 it is about one row in fifty, in fp16 an eighth of that. What it does to the probabilities depends
on the absolute error of the logits, which grows as √d where nothing is scaled.

Reads:  parameters only.
Writes: data/formats.parquet, reports/metrics/formats.json

example: python -m stages.formats
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from goldilocks.config.formats import Settings
from goldilocks.config.run import RootSeed as Run
from goldilocks.core import cli, files, params, rng, schemas, tables
from goldilocks.core.progress import Progress
from goldilocks.softmax.failures import (
    FAILURES,
    SCALINGS,
    SUBTRACTED,
    bracket,
    exp_thresholds,
    outcome,
    shares,
    softmax,
)
from goldilocks.softmax.floats import FLOAT64, FORMATS, rounded_to
from goldilocks.softmax.scalings import EXPONENTS
from goldilocks.stats.intervals import Estimate

OUTPUT = files.DATA / "formats.parquet"
CHUNK_ELEMENTS = 2**14  # of vectors, so that a processor's caches hold them
REFERENCE = "float64"

KEYS = {"independent": slice(1, None), "aligned": slice(0, -1)}
"""Which columns of `dot_products` are the row's: all keys independent of q, or the first one equal to it."""


def dot_products(
    root_seed: int, rows: int, keys: int, d: int, progress: Progress | None = None
) -> dict[str, np.ndarray]:
    """|q|² and q·k of vectors with N(0, 1) entries, exact, of the vectors as drawn and as rounded to each format.

    The vectors are drawn and forgotten chunk by chunk, so that memory does not grow with d. The stream of this d
    yields them entry by entry of all vectors, so the chunks change no draw.

    Returns:
        {REFERENCE and each format: (rows, 1 + keys)}, |q|² in the first column; `KEYS` groups the columns.
    """
    stream = rng.generator(root_seed, "formats/vectors", d)
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


def outcomes(dots: dict[str, np.ndarray], d: int) -> Iterator[dict[str, Any]]:
    """A line of the table for each format, scaling, softmax and kind of keys, of the `dot_products` at one d."""
    for (kind, columns), scaling in product(KEYS.items(), SCALINGS):
        divisor = float(d) ** EXPONENTS[scaling]
        exact = dots[REFERENCE][:, columns] / divisor
        expected = softmax(exact, FLOAT64, subtract=True).probabilities
        for (name, number_format), (way, subtract) in product(FORMATS.items(), SUBTRACTED.items()):
            where = {"format": name, "scaling": scaling, "softmax": way, "keys": kind, "dimension": d}
            yield where | outcome(dots[name][:, columns], exact, expected, divisor, number_format, subtract)


def softmax_work(rows: int, keys: int) -> int:
    """What all softmaxes at one d cost, counted in entries of vectors drawn and rounded: about three for each logit."""
    return 3 * len(FORMATS) * len(SCALINGS) * len(SUBTRACTED) * len(KEYS) * rows * keys


def first_dimensions(
    by_dimension: dict[int, dict[tuple[str, ...], dict[str, Estimate]]], appears: float
) -> dict[str, Any]:
    """{format: {scaling: {softmax: {keys: {last_without_FAILURE: d, first_FAILURE: d}}}}} from `shares` at each d."""
    tree: dict[str, Any] = {}
    for names in product(FORMATS, SCALINGS, SUBTRACTED, KEYS):
        place = tree
        for name in names:
            place = place.setdefault(name, {})
        for failure in FAILURES:
            ends = bracket({d: of[names][failure] for d, of in by_dimension.items()}, appears)
            place[f"last_without_{failure}"], place[f"first_{failure}"] = ends
    return tree


def main() -> None:
    cli.no_arguments(__doc__, "stages.formats")
    settings, run = params.load("formats", Settings, Run)
    rows, queries, keys = settings.rows, settings.queries, settings.keys
    dimensions = [2**power for power in range(1, settings.widest.bit_length())]
    lines: list[dict[str, Any]] = []
    by_dimension: dict[int, dict[tuple[str, ...], dict[str, Estimate]]] = {}
    at_each = softmax_work(rows, keys) + softmax_work(queries, 3) + queries * keys
    total = sum(dimensions) * (rows + keys) + len(dimensions) * at_each
    with Progress("formats", total, "number") as progress:
        for d in dimensions:
            dots = dot_products(run.root_seed, rows, keys, d, progress)
            by_dimension[d] = shares(run.root_seed, queries, keys, d)
            for line in outcomes(dots, d):
                of_queries = by_dimension[d][line["format"], line["scaling"], line["softmax"], line["keys"]]
                lines.append(line | {failure: share.value for failure, share in of_queries.items()})
            progress.add(at_each)

    columns = {name: [line[name] for line in lines] for name in schemas.schema("formats").names}
    tables.write(OUTPUT, "formats", columns, {"formats": settings.model_dump(), "run": run.model_dump()})
    thresholds = {name: exp_thresholds(number_format) for name, number_format in FORMATS.items()}
    files.write_metrics("formats", first_dimensions(by_dimension, settings.appears) | {"exp_thresholds": thresholds})


if __name__ == "__main__":
    cli.run(main)
