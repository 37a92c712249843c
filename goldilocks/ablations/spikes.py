"""The largest spike in the test loss of an ablation, and what coincides with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from goldilocks.ablations.summary import chosen


def _by_step(runs: pd.DataFrame, condition: str, quantity: str) -> pd.DataFrame:
    """A quantity, of blocks the largest, by step (rows) and seed (columns)."""
    of_seeds = chosen(runs, condition, quantity).groupby(["step", "seed"])["value"].max()
    table: pd.DataFrame = of_seeds.unstack("seed")
    return table


def largest(runs: pd.DataFrame, condition: str, others: Sequence[str]) -> dict[str, Any] | None:
    """Between which looks the test loss rises most, by the median over seeds, and what was large then.

    Args:
        runs: columns condition, seed, quantity, step, block, value.
        others: conditions that trained on the same batches.

    Returns:
        The step of the spike and of the looks before and after it; the lowest and the highest loss of a seed at the
        spike, and the highest after it; medians over seeds of the gradient norm and of the RMS of the residual stream,
        of blocks the largest, before and at the spike; the number of others, and their highest loss at that step. None
        if no rise is followed by another look.
    """
    losses = _by_step(runs, condition, "test_loss")
    rise = losses.median(axis=1).diff().iloc[:-1].to_numpy()
    if not (rise > 0).any():
        return None
    i = int(np.nanargmax(rise))
    before, at, after = losses.index.tolist()[i - 1 : i + 2]
    found: dict[str, Any] = {
        "step_before": before, "step": at, "step_after": after,
        "lowest_loss": losses.loc[at].min(), "highest_loss": losses.loc[at].max(),
        "highest_loss_after": losses.loc[after].max(), "others": len(others),
    }  # fmt: skip
    for quantity in ("gradient_norm", "residual_rms"):
        medians = _by_step(runs, condition, quantity).median(axis=1)
        found |= {f"{quantity}_before": medians[before], quantity: medians[at]}
    if others:
        found["highest_loss_of_others"] = max(_by_step(runs, other, "test_loss").loc[at].max() for other in others)
    return found
