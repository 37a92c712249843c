"""Extracted norms in numbers: by checkpoint and by tensor, as a table for people or for machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from goldilocks.checkpoints.extract import Extraction
from goldilocks.checkpoints.families import BETA, GAMMA
from goldilocks.core.cli import plain

SIGNS = {GAMMA: "γ", BETA: "β"}
PERCENTS = (5, 25, 50, 75, 95)
LISTED = 50  # names of unrecognised tensors; --json has all
COLUMNS = ("n", "mean", "std", "min", "q05", "q25", "q50", "q75", "q95", "max", "share_in_range", "share_below_1")


def statistics(values: np.ndarray, gamma_from: float, gamma_to: float, near_zero: float) -> dict[str, Any]:
    """Counts, moments, quantiles and shares of parameters of any shape, over those that are finite.

    `std` is that of a population, since the values are all there are; quantiles are interpolated linearly. Statistics
    of no values are left out.
    """
    x = values.astype(np.float64).ravel()
    finite = x[np.isfinite(x)]
    found: dict[str, Any] = {"n": x.size, "not_finite": x.size - finite.size}
    if not finite.size:
        return found
    quantiles = np.percentile(finite, PERCENTS)
    return found | {
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
    found = {}
    for kind in SIGNS:
        parts = [tensor.values for tensor in extraction.tensors if tensor.norm.kind == kind]
        if parts:
            found[kind] = statistics(np.concatenate(parts), *thresholds)
    return found


def to_dict(extraction: Extraction, *thresholds: float) -> dict[str, Any]:
    """Everything about a checkpoint, for machines."""
    return {
        "model": extraction.model,
        "revision": extraction.revision,
        "family": extraction.family,
        "notes": extraction.notes,
        "unrecognised": extraction.unrecognised,
        "all": by_kind(extraction, *thresholds),
        "tensors": [
            {"name": tensor.name, **tensor.norm._asdict(), "stored": tensor.stored}
            | statistics(tensor.values, *thresholds)
            for tensor in extraction.tensors
        ],
    }


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]], texts: int) -> Iterable[str]:
    """Rows as lines, the first `texts` columns left, numbers right."""
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(w) if i < texts else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def table(checkpoints: Sequence[dict[str, Any]], gamma_from: float, gamma_to: float, tensors: bool) -> str:
    """The result of `to_dict` as text: a line for all γ and all β of each checkpoint, on request for each tensor."""
    heading = [f"in [{gamma_from:g}, {gamma_to:g}]" if name == "share_in_range" else name for name in COLUMNS]
    heading[-1] = "< 1"
    rows = [["model", "family", "", *heading]]
    for found in checkpoints:
        for kind, numbers in found["all"].items():
            rows.append(
                [found["model"], found["family"], SIGNS[kind], *(_number(numbers.get(name)) for name in COLUMNS)]
            )
    lines = list(_aligned(rows, 3))
    for found in checkpoints if tensors else ():
        rows = [["tensor", "place", "", *heading]]
        for one in found["tensors"]:
            place = one["place"] if one["block"] < 0 else f"{one['block']} {one['place']}"
            rows.append([one["name"], place, SIGNS[one["kind"]], *(_number(one.get(name)) for name in COLUMNS)])
        lines += ["", plain(f"{found['model']} {found['revision']}".strip()), *_aligned(rows, 3)]
    for found in checkpoints:
        if found["unrecognised"]:
            more = len(found["unrecognised"]) - LISTED
            unrecognised = ", ".join(found["unrecognised"][:LISTED]) + (f" and {more:,} more" if more > 0 else "")
            lines += ["", plain(f"{found['model']}: unrecognised, not counted above: {unrecognised}")]
    return "\n".join(lines)
