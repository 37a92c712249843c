"""The Goldilocks zone in a map of logit scales: where it lies, what lies in it, and the metrics that say so.

Softmax learns where the gradient is on average at least a given share of an even softmax's, and it tells entries apart
where the largest probability is on average at least a given multiple of 1/n. In the zone it does both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stages.common.statistics import Estimate
from stages.landscape.rows import even_gradient

KEY = ["dimension", "length", "correlation"]
INSIDE, OUTSIDE, UNDECIDED = "inside", "outside", "undecided"
DIVISORS = {"unscaled": 0.0, "by_root_d": 0.5, "by_d": 1.0}  # exponents of the scales 1, 1/√d and 1/d


def named(rho: float) -> str:
    """A correlation's name among the metrics, without the dot that separates the names there."""
    return f"rho_{rho:g}".replace(".", "_")


def with_interval(name: str) -> tuple[str, str, str]:
    """The columns of a mean and of the ends of its interval."""
    return name, f"{name}_low", f"{name}_high"


def criteria(n: np.ndarray) -> tuple[tuple[str, str, np.ndarray], ...]:
    """What thresholds are set for: a statistic, what it is a multiple of, and what an even softmax has."""
    return (("relative_gradient", "gradient_norm", even_gradient(n)), ("discrimination", "largest_probability", 1 / n))


def verdicts(cells: pd.DataFrame, least_gradient: float, least_discrimination: float) -> np.ndarray:
    """Of each cell: inside if the intervals lie above both thresholds, outside if one lies below its threshold."""
    limits = (("relative_gradient", least_gradient), ("discrimination", least_discrimination))
    inside = np.logical_and.reduce([cells[f"{name}_low"] >= least for name, least in limits])
    outside = np.logical_or.reduce([cells[f"{name}_high"] < least for name, least in limits])
    return np.select([inside, outside], [INSIDE, OUTSIDE], UNDECIDED)


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
    for name, found in (("lower", lower), ("upper", upper)):
        keys[f"{name}_exponent"], keys[f"{name}_beyond"] = map(list, zip(*found, strict=True))
        keys[name] = keys["dimension"] ** -keys[f"{name}_exponent"]
    return keys.assign(decades=np.log10(np.maximum(keys["upper"] / keys["lower"], 1)))


def _estimate(cells: pd.DataFrame, name: str, row: int) -> dict[str, float | int]:
    value, low, high, n = cells[[*with_interval(name), "trials"]].iloc[row]
    return Estimate(value, low, high, int(n)).as_metrics()


def _lowest(cells: pd.DataFrame, name: str) -> dict[str, float | int]:
    """The lowest mean over dimensions; its interval ends at the lowest of all lower and of all upper ends."""
    value, low, high = cells[list(with_interval(name))].min()
    return Estimate(value, low, high, int(cells["trials"].iloc[0])).as_metrics()


def _from_there_on(dimensions: np.ndarray, held: np.ndarray) -> int:
    """The smallest dimension from which on something holds at each, 0 if it does not at the widest."""
    failed = np.flatnonzero(~held)
    start = failed[-1] + 1 if failed.size else 0
    return int(dimensions[start]) if start < dimensions.size else 0


def extreme(estimates: list[dict[str, float | int]], lowest: bool) -> dict[str, float | int]:
    """The lowest, or largest, of estimates, whose interval ends at the lowest, or largest, of all ends."""
    pick = min if lowest else max
    return {name: pick(e[name] for e in estimates) for name in ("value", "low", "high")} | {"n": estimates[0]["n"]}


def over_lengths(by_length: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What holds at every length: of independent q and k, and from which dimension on 1/√d is outside if they align.

    Args:
        by_length: `metrics` by length and correlation.
    """
    found: dict[str, Any] = {}
    independent = [of[named(0)] for of in by_length.values() if named(0) in of]
    if independent:
        extremes = (
            ("lowest_gradient_by_root_d", "by_root_d", "lowest_relative_gradient"),
            ("lowest_discrimination_by_root_d", "by_root_d", "lowest_discrimination"),
            ("largest_gradient_unscaled", "unscaled", "relative_gradient"),
            ("largest_discrimination_by_d", "by_d", "discrimination"),
        )
        found["independent"] = {
            name: extreme([of[scale][quantity] for of in independent], name.startswith("lowest"))
            for name, scale, quantity in extremes
        }
        found["jacobian_halves_from_dimension"] = {
            length: of[named(0)]["unscaled"]["dimension_where_jacobian_halves"] for length, of in by_length.items()
        }
    outside = {
        rho: [d for of in by_length.values() if (d := of[rho]["by_root_d"]["outside_from_dimension"])]
        for rho in next(iter(by_length.values()))
    }
    return found | {"by_root_d_outside_from_dimension": {rho: min(d, default=0) for rho, d in outside.items()}}


def metrics(cells: pd.DataFrame, zone: pd.DataFrame) -> dict[str, Any]:
    """What the map of one length and correlation says of the scales 1, 1/√d and 1/d, and of the zone.

    Args:
        cells, zone: the rows of that length and correlation, dimensions growing.

    Returns:
        Estimates are of the widest dimension but for the lowest ones. A dimension that does not exist is 0.
    """
    found: dict[str, Any] = {"dimensions": len(zone)}
    at = {name: cells[cells["exponent"] == exponent] for name, exponent in DIVISORS.items()}
    for name, rows in at.items():
        found[name] = {
            "dimensions_inside": int((rows["zone"] == INSIDE).sum()),
            "dimensions_outside": int((rows["zone"] == OUTSIDE).sum()),
            "relative_gradient": _estimate(rows, "relative_gradient", -1),
            "discrimination": _estimate(rows, "discrimination", -1),
        }
    dimensions = zone["dimension"].to_numpy()
    unscaled, by_root_d = (at[name]["zone"].to_numpy() for name in ("unscaled", "by_root_d"))
    jacobian, of_scaled = (at[name]["jacobian_norm"].to_numpy() for name in ("unscaled", "by_root_d"))
    found["unscaled"] |= {
        "widest_dimension_inside": int(dimensions[unscaled == INSIDE].max(initial=0)),
        "dimension_where_jacobian_halves": int(next(iter(dimensions[jacobian < of_scaled / 2]), 0)),
    }
    found["by_root_d"] |= {
        "outside_from_dimension": _from_there_on(dimensions, by_root_d == OUTSIDE),
        "lowest_relative_gradient": _lowest(at["by_root_d"], "relative_gradient"),
        "lowest_discrimination": _lowest(at["by_root_d"], "discrimination"),
    }
    widest = zone.iloc[-1]
    found["zone"] = {
        "decades_at_smallest_dimension": zone["decades"].iloc[0],
        "decades_at_widest_dimension": widest["decades"],
        **{name: widest[name] for name in ("lower_exponent", "upper_exponent", "lower_beyond", "upper_beyond")},
    }
    return found
