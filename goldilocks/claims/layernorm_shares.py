"""The shares of LayerNorm parameters that claims are about.

A checkpoint's parameters are a whole population, so their shares have no sampling error.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def meets(value: np.ndarray, share: str, thresholds: Mapping[str, float]) -> np.ndarray:
    """Which parameters a share counts, by the thresholds of the section `layernorm:`."""
    if share == "gamma_in_range":
        return np.asarray((value >= thresholds["gamma_from"]) & (value <= thresholds["gamma_to"]))
    if share == "gamma_below_1":
        return np.asarray(value < 1)
    return np.asarray(np.abs(value) < thresholds["beta_near_zero"])


def shares(
    table: pd.DataFrame, thresholds: Mapping[str, float], unknown: Mapping[str, str]
) -> dict[str, dict[str, float | str]]:
    """{share: {model: its value}} of the finite γ and β in a `layernorm` table, also of an earlier version.

    Args:
        unknown: models of which it is not known whether they store γ less 1, and why; shares of their γ are this
            reason in place of a value.
    """
    finite = table[np.isfinite(table["value"])]
    result: dict[str, dict[str, float | str]] = {}
    for share in ("gamma_in_range", "gamma_below_1", "beta_near_zero"):
        of_kind = finite[finite["kind"] == share.split("_")[0]]
        counted = of_kind.assign(met=meets(of_kind["value"].to_numpy(np.float64), share, thresholds))
        means = counted.groupby("model", observed=True)["met"].mean()
        reasons = unknown if share.startswith("gamma") else {}
        result[share] = {
            str(model): f"γ as stored, since {reasons[model]}" if model in reasons else float(mean)
            for model, mean in means.items()
        }
    return result
