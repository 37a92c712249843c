"""The Goldilocks zone in a map of logit scales: where it lies, what lies in it, and the metrics that say so.

Softmax learns where the gradient is on average at least a given share of an even softmax's, and it tells entries apart
where the largest probability is on average at least a given multiple of 1/n. In the zone it does both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from goldilocks.softmax.scalings import EXPONENTS
from goldilocks.softmax.statistics import even_gradient, even_jacobian, even_trace
from goldilocks.stats.intervals import Estimate

KEY = ["dimension", "length", "correlation"]
INSIDE, OUTSIDE, UNDECIDED = "inside", "outside", "undecided"
FLAT, SATURATED = "flat", "saturated"
NAMED_EXPONENTS = {
    name: EXPONENTS[scaling]
    for name, scaling in (("unscaled", "unscaled"), ("by_root_d", "scaled"), ("by_d", "scaled_by_d"))
}
"""Exponents of the scales 1, 1/√d and 1/d, by their names among the metrics."""

GRADIENTS = ("gradient", "trace", "jacobian")  # measures of what softmax passes on: `relative_` to an even row's


def named(rho: float) -> str:
    """A correlation's name among the metrics, without the dot that separates the names there."""
    return f"rho_{rho:g}".replace(".", "_")


def with_interval(name: str) -> tuple[str, str, str]:
    """The columns of a mean and of the ends of its interval."""
    return name, f"{name}_low", f"{name}_high"


def criteria(n: np.ndarray) -> tuple[tuple[str, str, np.ndarray], ...]:
    """The statistics with thresholds: name, the column it is computed from, and that column's value for uniform p."""
    return (
        ("relative_gradient", "gradient_norm", even_gradient(n)),
        ("relative_trace", "trace", even_trace(n)),
        ("relative_jacobian", "jacobian_norm", even_jacobian(n)),
        ("discrimination", "largest_probability", 1 / n),
    )


def contains(
    relative_gradient: pd.Series, discrimination: pd.Series, least_gradient: float, least_discrimination: float
) -> pd.Series:
    """Whether each lies in the zone."""
    return (relative_gradient >= least_gradient) & (discrimination >= least_discrimination)


def sides(
    relative_gradient: pd.Series, discrimination: pd.Series, least_gradient: float, least_discrimination: float
) -> np.ndarray:
    """Where each lies: inside; flat (below the zone) if it discriminates too little; otherwise saturated (above)."""
    inside = contains(relative_gradient, discrimination, least_gradient, least_discrimination)
    return np.select([inside, discrimination < least_discrimination], [INSIDE, FLAT], SATURATED)


def verdicts(cells: pd.DataFrame, least_gradient: float, least_discrimination: float) -> np.ndarray:
    """Of each cell: inside if the intervals lie above both thresholds, outside if one lies below its threshold."""
    limits = (least_gradient, least_discrimination)
    surely, perhaps = (
        contains(cells[f"relative_gradient_{end}"], cells[f"discrimination_{end}"], *limits) for end in ("low", "high")
    )
    return np.select([surely, ~perhaps], [INSIDE, OUTSIDE], UNDECIDED)


def first_met(x: np.ndarray, values: np.ndarray, least: float) -> tuple[float, bool]:
    """Where along x the values first reach `least`, by linear interpolation, and whether that is beyond x's ends.

    If they do so from the start, that is x's start; if they never do, its end.
    """
    met = np.flatnonzero(values >= least)
    if met.size == 0 or met[0] == 0:
        return float(x[0] if met.size else x[-1]), True
    before, after = met[0] - 1, met[0]
    part = (least - values[before]) / (values[after] - values[before])
    return float(x[before] + part * (x[after] - x[before])), False


def edges(cells: pd.DataFrame, least_gradient: float, least_discrimination: float) -> pd.DataFrame:
    """The table `goldilocks_zone` of a map in which the rows of one key stand together, scales growing.

    The lower edge is where enough discrimination is first met on the way up from 1/d, the upper one where enough of the
    gradient is first met on the way down from 1. Interpolation is linear in the exponent, and so in log s.
    """
    keys = cells[KEY].drop_duplicates(ignore_index=True)
    x, gradient, discrimination = (
        cells[name].to_numpy().reshape(len(keys), -1) for name in ("exponent", "relative_gradient", "discrimination")
    )
    lower = [first_met(*curve, least_discrimination) for curve in zip(x, discrimination, strict=True)]
    upper = [first_met(*curve, least_gradient) for curve in zip(x[:, ::-1], gradient[:, ::-1], strict=True)]
    for name, crossings in (("lower", lower), ("upper", upper)):
        keys[f"{name}_exponent"], keys[f"{name}_beyond"] = map(list, zip(*crossings, strict=True))
        keys[name] = keys["dimension"] ** -keys[f"{name}_exponent"]
    return keys.assign(decades=np.log10(np.maximum(keys["upper"] / keys["lower"], 1)))


def _extreme(rows: pd.DataFrame, name: str, pick: str) -> dict[str, float | int]:
    """The lowest or the largest mean in some rows (`pick` is min or max); its interval ends at that of all ends."""
    value, low, high = rows[list(with_interval(name))].agg(pick)
    return Estimate(value, low, high, int(rows["trials"].min())).as_metrics()


def _from_there_on(dimensions: np.ndarray, held: np.ndarray) -> int:
    """The smallest dimension from which on something holds at each, 0 if it does not at the widest."""
    failed = np.flatnonzero(~held)
    start = failed[-1] + 1 if failed.size else 0
    return int(dimensions[start]) if start < dimensions.size else 0


def _largest_growth(cells: pd.DataFrame, name: str) -> dict[str, float | int]:
    """The largest factor by which a mean grows from one dimension to the next, over the lengths.

    It is 0 where the mean was 0 already. Dimensions have draws of their own, so relative errors add up as squares. The
    interval ends at the largest of all lower and of all upper ends.
    """
    by_dimension = (cells.pivot(index="dimension", columns="length", values=end) for end in with_interval(name))
    value, low, high = (of.to_numpy() for of in by_dimension)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = value[1:] / value[:-1]
        below, above = (value - low) / value, (high - value) / value
    ends = (
        factor,
        factor * (1 - np.hypot(below[1:], above[:-1])),
        factor * (1 + np.hypot(above[1:], below[:-1])),
    )
    largest = [float(np.nan_to_num(end).max()) for end in ends]
    return Estimate(largest[0], max(largest[1], 0.0), largest[2], int(cells["trials"].min())).as_metrics()


def over_lengths(cells: pd.DataFrame, by_length: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What holds at every length: of independent q and k, and from which dimension on 1/√d is outside if they align.

    Two dimensions bracket where a threshold is crossed: the last that lies on one side of it with its whole interval,
    and the first from which on all lie on the other. The map's dimensions double, so it places a crossing no better.

    Args:
        cells: the map.
        by_length: `metrics` by length and correlation.
    """

    def at(rows: pd.DataFrame, scale: str) -> pd.DataFrame:
        return rows[rows["exponent"] == NAMED_EXPONENTS[scale]]

    result: dict[str, Any] = {}
    independent = cells[cells["correlation"] == 0]
    if len(independent):
        widest = independent[independent["dimension"] == independent["dimension"].max()]
        unscaled, by_root_d = at(independent, "unscaled"), at(independent, "by_root_d")
        relative = {name: f"relative_{name}" for name in GRADIENTS}
        result["independent"] = {
            "lowest_gradient_by_root_d": _extreme(by_root_d, "relative_gradient", "min"),
            "lowest_discrimination_by_root_d": _extreme(by_root_d, "discrimination", "min"),
            "lowest_jacobian_by_root_d": _extreme(by_root_d, "relative_jacobian", "min"),
            "largest_discrimination_by_d": _extreme(at(widest, "by_d"), "discrimination", "max"),
            **{
                f"largest_{name}_unscaled": _extreme(at(widest, "unscaled"), of, "max") for name, of in relative.items()
            },
            **{f"largest_growth_of_{name}_unscaled": _largest_growth(unscaled, of) for name, of in relative.items()},
        }
        result |= {
            name: {length: of[named(0)]["unscaled"][name] for length, of in by_length.items()}
            for name in ("jacobian_halves_from_dimension", "jacobian_not_halved_to_dimension")
        }
    scaled = {rho: [of[rho]["by_root_d"] for of in by_length.values()] for rho in next(iter(by_length.values()))}
    outside = {rho: [d for one in of if (d := one["outside_from_dimension"])] for rho, of in scaled.items()}
    inside = {rho: [one["widest_dimension_inside"] for one in of] for rho, of in scaled.items()}
    return result | {
        "by_root_d_outside_from_dimension": {rho: min(d, default=0) for rho, d in outside.items()},
        "by_root_d_inside_to_dimension": {rho: min(d) for rho, d in inside.items()},
    }


def metrics(cells: pd.DataFrame, zone: pd.DataFrame) -> dict[str, Any]:
    """Metrics of the scales 1, 1/√d and 1/d, and of the zone, for one length and correlation of the map.

    Args:
        cells, zone: the rows of that length and correlation, dimensions growing.

    Returns:
        Numbers of dimensions, and dimensions, of which 0 means that there is none.
    """
    result: dict[str, Any] = {"dimensions": len(zone)}
    dimensions = zone["dimension"].to_numpy()
    at = {name: cells[cells["exponent"] == exponent] for name, exponent in NAMED_EXPONENTS.items()}
    for name, rows in at.items():
        sides = rows["zone"].to_numpy()
        result[name] = {f"dimensions_{side}": int((sides == side).sum()) for side in (INSIDE, OUTSIDE, UNDECIDED)} | {
            "widest_dimension_inside": int(dimensions[sides == INSIDE].max(initial=0)),
            "outside_from_dimension": _from_there_on(dimensions, sides == OUTSIDE),
        }
    unscaled, scaled, _ = (at[name][list(with_interval("jacobian_norm")[1:])].to_numpy().T for name in NAMED_EXPONENTS)
    halved, whole = unscaled[1] < scaled[0] / 2, unscaled[0] >= scaled[1] / 2
    result["unscaled"] |= {
        "jacobian_halves_from_dimension": int(next(iter(dimensions[halved]), 0)),
        "jacobian_not_halved_to_dimension": int(dimensions[whole].max(initial=0)),
    }
    result["zone"] = {"decades_at_widest_dimension": zone["decades"].iloc[-1]}
    return result
