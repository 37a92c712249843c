"""Where do logits let softmax both learn and tell entries apart? (claims S7-S9)

Source: the article on numerical scaling (5.1) speaks of a zone between logits so large that softmax saturates and so
small that it tells no entry apart. This is a map of softmax(s·qKᵀ) over the dimension d, the logit scale s from 1/d to
1, the number n of keys, and the correlation ρ of the query with the key at its own position. `drawn_rows.py` of
`goldilocks/softmax/` says how the logits are drawn, `statistics.py` what is measured of their softmax, and `zone.py`
where the zone is.

Every dimension and length has random streams of its own, which all scales and correlations share. Of the trials only
running means and variances are kept, so that memory does not grow with them. There are more
trials at the scales 1, 1/√d and 1/d, to find the dimension at which each leaves the zone.

Reads:  parameters only.
Writes: data/goldilocks.parquet, data/goldilocks_zone.parquet, reports/metrics/goldilocks.json

example: python -m stages.goldilocks
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from goldilocks.config.goldilocks import Settings
from goldilocks.config.run import RootSeed as Run
from goldilocks.core import cli, files, params, rng, schemas, system_info, tables
from goldilocks.core.progress import Progress
from goldilocks.softmax import drawn_rows, zone
from goldilocks.stats.intervals import Moments

OUTPUT = files.DATA / "goldilocks.parquet"
ZONE = files.DATA / "goldilocks_zone.parquet"
CHUNK_ELEMENTS = 2**16
SUMS = 16  # the work on a row's sums takes as long as that on so many keys


def dimensions(widest: int) -> list[int]:
    """2, 4, 8, … up to `widest`, a power of two."""
    return [2**i for i in range(1, widest.bit_length())]


def exponents(points: int) -> np.ndarray:
    """From 1 (scale 1/d) evenly down to 0 (unscaled), so that the scales d^-x grow; exactly 1/2 in the middle."""
    return np.linspace(1, 0, points)


def trials(n: int, settings: Settings) -> list[int]:
    """How many trials each of the exponents has with n keys; more where it is one of the zone's three scales."""
    lines = max(settings.trials, min(settings.line_trials, settings.line_keys // n))
    named = zone.NAMED_EXPONENTS.values()
    return [lines if x in named else settings.trials for x in exponents(settings.exponents).tolist()]


def work(n: int, settings: Settings) -> int:
    """How much one trial with n keys costs at one scale: numbers looked at, once for all correlations and for each."""
    return (n + SUMS) * (1 + len(settings.correlations))


def moments(root_seed: int, d: int, n: int, settings: Settings, progress: Progress | None = None) -> list[Moments]:
    """Mean and spread over the trials of this d and n at each exponent: arrays (statistics, correlations).

    The streams are read in order, so the result does not depend on the chunks they are read in beyond rounding, and
    more trials continue where fewer ended.
    """
    query, keys = (rng.generator(root_seed, f"goldilocks/{name}", d, n) for name in ("query", "keys"))
    scales, wanted = float(d) ** -exponents(settings.exponents), trials(n, settings)
    chunk = max(1, CHUNK_ELEMENTS // n)
    by_scale: dict[float, Moments] = {}
    for first, last in ((0, settings.trials), (settings.trials, max(wanted))):
        chosen = [scale for scale, until in zip(scales.tolist(), wanted, strict=True) if until >= last]
        for start in range(first, last, chunk):
            size = min(chunk, last - start)
            drawn = drawn_rows.draw(query, keys, d, n, settings.correlations, size)
            for scale in chosen:
                part = Moments.of(drawn_rows.statistics_at(drawn, scale))
                by_scale[scale] = by_scale[scale].merged(part) if scale in by_scale else part
            if progress:
                progress.add(size * len(chosen) * work(n, settings))
    return [by_scale[scale] for scale in scales.tolist()]


def monte_carlo(root_seed: int, settings: Settings, threads: int) -> dict[tuple[int, int], list[Moments]]:
    """The moments of every (d, n); the result does not depend on the number of threads."""
    pairs = [(d, n) for n in sorted(settings.lengths, reverse=True) for d in dimensions(settings.widest)]
    total = sum(sum(trials(n, settings)) * work(n, settings) for _, n in pairs)
    with ThreadPoolExecutor(threads) as pool, Progress("goldilocks", total, "number") as progress:
        results = pool.map(lambda d, n: moments(root_seed, d, n, settings, progress), *zip(*pairs, strict=True))
        return dict(zip(pairs, results, strict=True))


def table(by_pair: dict[tuple[int, int], list[Moments]], settings: Settings) -> pd.DataFrame:
    """The table `goldilocks`, and what the metrics need beside it: the trace, and ratios to an even row's.

    A row for each dimension, length, correlation and scale, ordered in this way.
    """
    axes = (dimensions(settings.widest), settings.lengths, settings.correlations, exponents(settings.exponents))
    d, n, rho, exponent = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    ordered = [by_pair[pair] for pair in product(*axes[:2])]
    mean, half, count = (  # from (dimensions · lengths, exponents, statistics, correlations) to (statistics, rows)
        np.array([[of(one) for one in by_exponent] for by_exponent in ordered]).transpose(2, 0, 3, 1)
        .reshape(len(drawn_rows.STATISTICS), -1)
        for of in (lambda one: one.mean, Moments.half_width, lambda one: np.full_like(one.mean, one.n, np.int64))
    )  # fmt: skip
    cells = {"dimension": d, "length": n, "correlation": rho, "exponent": exponent, "scale": d**-exponent}
    for i, (name, bounds) in enumerate(drawn_rows.bounds(n).items()):
        ends = (mean[i], np.clip(mean[i] - half[i], *bounds), np.clip(mean[i] + half[i], *bounds))
        cells |= dict(zip(zone.with_interval(name), ends, strict=True))
    for name, of, even in zone.criteria(n):
        columns = zip(zone.with_interval(name), zone.with_interval(of), strict=True)
        cells |= {relative: cells[absolute] / even for relative, absolute in columns}
    frame = pd.DataFrame(cells | {"trials": count[0]})
    return frame.assign(zone=zone.verdicts(frame, settings.least_gradient, settings.least_discrimination))


def main() -> None:
    cli.no_arguments(__doc__, "stages.goldilocks")
    settings, run = params.load("goldilocks", Settings, Run)
    cells = table(monte_carlo(run.root_seed, settings, system_info.cores()), settings)
    edges = zone.edges(cells, settings.least_gradient, settings.least_discrimination)
    made_by = {"goldilocks": settings.model_dump(), "run": run.model_dump()}
    for path, name, frame in ((OUTPUT, "goldilocks", cells), (ZONE, "goldilocks_zone", edges)):
        columns = {column: frame[column].to_numpy() for column in schemas.schema(name).names}
        tables.write(path, name, columns, made_by)

    by_length: dict[str, dict[str, Any]] = {f"length_{n}": {} for n in settings.lengths}
    for n, rho in product(settings.lengths, settings.correlations):
        one = f"length == {n} and correlation == {rho}"
        by_length[f"length_{n}"][zone.named(rho)] = zone.metrics(cells.query(one), edges.query(one))
    thresholds = {"least_gradient": settings.least_gradient, "least_discrimination": settings.least_discrimination}
    files.write_metrics("goldilocks", by_length | {"thresholds": thresholds} | zone.over_lengths(cells, by_length))


if __name__ == "__main__":
    cli.run(main)
