"""The shares of LayerNorm parameters that claims speak of, with intervals over tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stages.common import statistics, streams

WITHIN = {"model", "kind", "revision", "family", "stored", "index", "value"}  # do not tell tensors of one kind apart


def meets(value: np.ndarray, share: str, thresholds: Mapping[str, float]) -> np.ndarray:
    """Which parameters a share counts, by the thresholds of the section `layernorm:`."""
    if share == "gamma_in_range":
        return np.asarray((value >= thresholds["gamma_from"]) & (value <= thresholds["gamma_to"]))
    if share == "gamma_below_1":
        return np.asarray(value < 1)
    return np.asarray(np.abs(value) < thresholds["beta_near_zero"])


def shares(table: pd.DataFrame, thresholds: Mapping[str, float], root_seed: int) -> dict[str, dict[str, Any]]:
    """{share: {model: estimate}} of the finite γ and β in a `layernorm` table, be it of an earlier version.

    The stream of the bootstrap is named by the share and the model.
    """
    tensor = [name for name in table.columns if name not in WITHIN]
    finite = table[np.isfinite(table["value"])]
    found: dict[str, dict[str, Any]] = {}
    for share in ("gamma_in_range", "gamma_below_1", "beta_near_zero"):
        of_kind = finite[finite["kind"] == share.split("_")[0]]
        counted = of_kind.assign(met=meets(of_kind["value"].to_numpy(np.float64), share, thresholds))
        found[share] = {}
        for model, of_model in counted.groupby("model", observed=True):
            groups = of_model.groupby(tensor, observed=True)["met"].agg(["sum", "size"])
            stream = streams.generator(root_seed, f"claims/{share}/{model}")
            found[share][str(model)] = statistics.clustered_share_interval(
                groups["sum"], groups["size"], stream
            ).as_metrics()
    return found
