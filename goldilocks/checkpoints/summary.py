"""Extracted norms in numbers: by checkpoint and by tensor, as a table for people or for machines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from goldilocks.checkpoints.extract import Extraction
from goldilocks.checkpoints.families import BETA, GAMMA
from goldilocks.checkpoints.reference import GPT2, of_gpt2
from goldilocks.core.cli import plain

SIGNS = {GAMMA: "γ", BETA: "β"}
PERCENTS = (5, 25, 50, 75, 95)
LISTED = 50  # names of unrecognised tensors; --json has all
MOMENTS = ("n", "mean", "std", "min", "q05", "q25", "q50", "q75", "q95", "max")
SHARES = {GAMMA: ("share_in_range", "share_below_1"), BETA: ("share_near_zero",)}
"""The shares that mean something for γ, and for β."""

LARGE = 5.0  # γ above this are unusual
SAME = 0.01  # medians that differ by less than this part are called the same
FAR = 2.0  # so many times its neighbours' γ, or so many times less, is far


def statistics(values: np.ndarray, gamma_from: float, gamma_to: float, near_zero: float) -> dict[str, Any]:
    """Counts, moments, quantiles and shares of parameters of any shape, over those that are finite.

    `std` is that of a population, since the values are all there are; quantiles are interpolated linearly. Statistics
    of no values are left out.
    """
    x = values.astype(np.float64).ravel()
    finite = x[np.isfinite(x)]
    numbers: dict[str, Any] = {"n": x.size, "not_finite": x.size - finite.size}
    if not finite.size:
        return numbers
    quantiles = np.percentile(finite, PERCENTS)
    return numbers | {
        "mean": finite.mean(),
        "std": finite.std(),
        "min": finite.min(),
        **{f"q{percent:02d}": quantile for percent, quantile in zip(PERCENTS, quantiles, strict=True)},
        "max": finite.max(),
        "share_in_range": ((finite >= gamma_from) & (finite <= gamma_to)).mean(),
        "share_below_1": (finite < 1).mean(),
        "share_near_zero": (np.abs(finite) < near_zero).mean(),
    }


def by_kind(extraction: Extraction, *thresholds: float) -> dict[str, dict[str, Any]]:
    """The statistics of all γ of a checkpoint, and of all β if it has any."""
    parts = {kind: [tensor.values for tensor in extraction.tensors if tensor.norm.kind == kind] for kind in SIGNS}
    return {kind: statistics(np.concatenate(found), *thresholds) for kind, found in parts.items() if found}


def _meant(kind: str, numbers: dict[str, Any]) -> dict[str, Any]:
    """Statistics without the shares that mean nothing for this kind."""
    return {name: value for name, value in numbers.items() if name in SHARES[kind] or not name.startswith("share")}


def to_dict(extraction: Extraction, *thresholds: float) -> dict[str, Any]:
    """Everything about a checkpoint, for machines."""
    return {
        "model": extraction.model,
        "revision": extraction.revision,
        "family": extraction.family,
        "notes": extraction.notes,
        "unknown_convention": extraction.unknown,
        "unrecognised": extraction.unrecognised,
        "all": {kind: _meant(kind, found) for kind, found in by_kind(extraction, *thresholds).items()},
        "tensors": [
            {"name": tensor.name, **tensor.norm._asdict(), "stored": tensor.stored}
            | _meant(tensor.norm.kind, statistics(tensor.values, *thresholds))
            for tensor in extraction.tensors
        ],
        "reading": reading(extraction),
    }


def far_from_neighbours(extraction: Extraction) -> list[str]:
    """Tensors of γ whose median is far from those at the same place in the nearest blocks, two on either side."""
    by_place: dict[str, dict[int, float]] = {}
    for tensor in extraction.tensors:
        finite = tensor.values[np.isfinite(tensor.values)]
        if tensor.norm.kind == GAMMA and tensor.norm.block >= 0 and finite.size:
            by_place.setdefault(tensor.norm.place, {})[tensor.norm.block] = float(np.median(finite))
    far = []
    for place, medians in by_place.items():
        blocks = sorted(medians)
        for i, block in enumerate(blocks):
            around = [medians[other] for other in blocks[max(i - 2, 0) : i + 3] if other != block]
            expected = float(np.median(around)) if len(around) > 1 else 0.0
            ratio = medians[block] / expected if expected else 1.0
            if not 1 / FAR <= ratio <= FAR:
                far.append(f"block {block}'s {place} ({medians[block]:.2g} beside {expected:.2g})")
    return far


def reading(extraction: Extraction) -> str:
    """A sentence on a checkpoint's γ: how they lie beside GPT-2's, and what is unusual about them."""
    parts = [tensor.values for tensor in extraction.tensors if tensor.norm.kind == GAMMA]
    gamma = np.concatenate([np.empty(0, np.float32), *parts])
    gamma = gamma[np.isfinite(gamma)]
    if not gamma.size:
        return "no γ to compare"
    middle = float(np.median(gamma))
    names, medians = list(GPT2), [of_gpt2("q50", GAMMA, name) for name in GPT2]
    i = bisect_right(medians, middle)
    same = next((name for name, value in zip(names, medians, strict=True) if abs(middle / value - 1) < SAME), "")
    beside = (
        "as stored, so perhaps 1 too small to set beside GPT-2's" if extraction.unknown
        else f"as {same} has" if same
        else "below all of GPT-2's" if i == 0
        else "above all of GPT-2's" if i == len(names)
        else f"between those of {names[i - 1]} and {names[i]}"
    )  # fmt: skip
    listed = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, medians, strict=True))
    counts = {"are negative": int((gamma < 0).sum()), f"are above {LARGE:g}": int((gamma > LARGE).sum())}
    odd = [f"{count:,} of {gamma.size:,} {words}" for words, count in counts.items() if count]
    if far := far_from_neighbours(extraction):
        more = f" and {len(far) - 3} more" if far[3:] else ""
        odd.append(f"far from their neighbours' median are {', '.join(far[:3])}{more}")
    usual = f"none is negative, above {LARGE:g} or far from its neighbours"
    return f"γ has a median of {middle:.2g}, {beside} ({listed}); {'; '.join(odd) or usual}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, the first three columns left, numbers right."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{'<' if i < 3 else '>'}{widths[i]}}" for i, cell in enumerate(row))
        yield "  ".join(cells).rstrip()


def table(
    checkpoints: Sequence[dict[str, Any]], gamma_from: float, gamma_to: float, near_zero: float, tensors: bool
) -> str:
    """The result of `to_dict` as text: a line for all γ and all β of each checkpoint, on request for each tensor."""
    words = {
        "share_in_range": f"in [{gamma_from:g}, {gamma_to:g}]",
        "share_below_1": "< 1",
        "share_near_zero": f"|β| < {near_zero:g}",
    }

    def part(*first: str, entries: list[tuple[str, str, str, dict[str, Any]]]) -> Iterator[str]:
        """Lines of γ and lines of β, each with a head; an entry is two texts, the kind and its numbers."""
        for kind, sign in SIGNS.items():
            columns = (*MOMENTS, *SHARES[kind])
            rows = [[*texts, sign, *(_number(numbers.get(name)) for name in columns)]
                    for *texts, of, numbers in entries if of == kind]  # fmt: skip
            if rows:
                yield from _aligned([[*first, "", *(words.get(name, name) for name in columns)], *rows])

    models = [(one["model"], one["family"], kind, one["all"][kind]) for one in checkpoints for kind in one["all"]]
    lines = [*part("model", "family", entries=models)]
    for one in checkpoints if tensors else ():
        entries = [
            (
                each["name"],
                each["place"] if each["block"] < 0 else f"{each['block']} {each['place']}",
                each["kind"],
                each,
            )
            for each in one["tensors"]
        ]
        lines += ["", plain(f"{one['model']} {one['revision']}".strip()), *part("tensor", "place", entries=entries)]
    for one in checkpoints:
        if one["unrecognised"]:
            shapes = [f"{name} {list(shape)}" for name, shape in one["unrecognised"].items()]
            more = f" and {len(shapes) - LISTED:,} more" if shapes[LISTED:] else ""
            lines += ["", plain(f"{one['model']}: unrecognised, not counted above: {', '.join(shapes[:LISTED])}{more}")]
    lines += ["", *(plain(f"{one['model']}: {one['reading']}.") for one in checkpoints)]
    return "\n".join(lines)
