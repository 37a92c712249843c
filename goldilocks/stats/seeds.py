"""The trainings of Model 5 as replicates: what they recorded, side by side, and its mean over seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from goldilocks.core import files, tables
from goldilocks.stats import intervals


def gather(table: str, seeds: list[int]) -> pd.DataFrame:
    """One table of every seed's run, with a column `seed`."""
    runs = ((seed, files.MODEL5 / f"seed-{seed}" / f"{table}.parquet") for seed in seeds)
    return pd.concat([tables.read(path, table).assign(seed=seed) for seed, path in runs], ignore_index=True)


def over_seeds(values: pd.DataFrame, key: list[str], bounds: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """Mean and 95 % t interval over seeds of the column `value`, for each combination of the columns of `key`.

    Args:
        values: one row a seed and combination; among the columns of `key` is `quantity`.
        bounds: where intervals of a quantity end, since it can't lie beyond.
    """
    grouped = values.groupby(key)["value"].agg(["mean", "sem", "size"]).reset_index()
    n = int(grouped["size"].max())
    unit = intervals.t_interval(0.0, 1.0, n).high if n > 1 else 0.0
    half = unit * grouped["sem"].fillna(0.0)
    ends = np.array([bounds.get(quantity, (-np.inf, np.inf)) for quantity in grouped["quantity"]])
    return grouped[key].assign(
        mean=grouped["mean"],
        low=np.clip(grouped["mean"] - half, *ends.T),
        high=np.clip(grouped["mean"] + half, *ends.T),
        seeds=grouped["size"],
    )
