"""What the runs of an ablation say together: each condition over seeds, and how it differs from the articles'."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import pandas as pd

from stages.ablation.conditions import ARTICLES, CONDITIONS, GRID, NO_LAYERNORM
from stages.common import statistics

WHOLE_MODEL = -1
BySeed: TypeAlias = pd.Series  # of floats, the index being the seeds


def chosen(runs: pd.DataFrame, condition: str, quantity: str) -> pd.DataFrame:
    """One quantity of one condition: seed, step, block, value."""
    return runs[(runs["condition"] == condition) & (runs["quantity"] == quantity)]


def diverged(runs: pd.DataFrame, condition: str) -> set[int]:
    """The seeds whose loss did not stay finite."""
    return set(chosen(runs, condition, "diverged")["seed"])


def first(runs: pd.DataFrame, condition: str, quantity: str) -> BySeed:
    """A quantity before the first update, mean over blocks, by seed."""
    found = chosen(runs, condition, quantity)
    values: BySeed = found[found["step"] == 0].groupby("seed")["value"].mean()
    return values


def last(runs: pd.DataFrame, condition: str, quantity: str) -> BySeed:
    """A quantity at the last look, mean over blocks, by seed, of those that did not diverge."""
    found = chosen(runs, condition, quantity)
    found = found[~found["seed"].isin(diverged(runs, condition))]
    values: BySeed = found[found["step"] == found["step"].max()].groupby("seed")["value"].mean()
    return values


def widening(runs: pd.DataFrame, condition: str) -> BySeed:
    """How much the QKV weights' σ grew from start to end, relative, mean over blocks, by seed."""
    std = chosen(runs, condition, "std").set_index(["seed", "block", "step"])["value"].unstack("step")
    growth: BySeed = std.ffill(axis=1).iloc[:, -1] / std[0] - 1
    return growth.groupby("seed").mean()


def drift(runs: pd.DataFrame, condition: str) -> BySeed:
    """|ln(RMS of what leaves the last block / RMS of what enters the first)|, mean over looks, by seed."""
    sizes = chosen(runs, condition, "residual_rms").set_index(["seed", "step", "block"])["value"].unstack("block")
    ratio: BySeed = sizes.iloc[:, -1] / sizes.iloc[:, 0]
    return ratio.map(lambda x: abs(math.log(x))).groupby("seed").mean()


def imbalance(runs: pd.DataFrame, condition: str) -> BySeed:
    """Standard deviation over blocks of the mean log gradient norm, by seed."""
    return chosen(runs, condition, "gradient_log_mean").groupby("seed")["value"].std(ddof=0)


def over_steps(quantity: str) -> Callable[[pd.DataFrame, str], BySeed]:
    """A quantity that a run notes once, mean over blocks, by seed."""
    return lambda runs, condition: chosen(runs, condition, quantity).groupby("seed")["value"].mean()


OF_A_RUN: dict[str, Callable[[pd.DataFrame, str], BySeed]] = {
    "initial_attention_entropy": lambda runs, condition: first(runs, condition, "attention_entropy"),
    "final_attention_entropy": lambda runs, condition: last(runs, condition, "attention_entropy"),
    "initial_largest_logit": lambda runs, condition: first(runs, condition, "largest_logit"),
    "first_test_loss": lambda runs, condition: first(runs, condition, "test_loss"),
    "last_test_loss": lambda runs, condition: last(runs, condition, "test_loss"),
    "widening": widening,
    "drift": drift,
    "imbalance": imbalance,
    "gradient_jump": over_steps("gradient_log_jump"),
    "gradient_spread": over_steps("gradient_log_spread"),
}
"""What is told of each run, by name; the logarithms are natural."""


def difference(runs: pd.DataFrame, quantity: str, condition: str, other: str = ARTICLES) -> dict[str, Any] | None:
    """By how much a quantity is larger in a condition than in another, over seeds that have both, as an estimate."""
    pairs = (OF_A_RUN[quantity](runs, condition) - OF_A_RUN[quantity](runs, other)).dropna()
    return statistics.mean_interval(pairs.to_numpy()).as_metrics() if len(pairs) else None


def of_condition(runs: pd.DataFrame, condition: str) -> dict[str, Any]:
    """Everything told of a condition: estimates over seeds, and the last test loss less that of the articles' model."""
    found: dict[str, Any] = {
        name: statistics.mean_interval(values.to_numpy()).as_metrics()
        for name, quantity in OF_A_RUN.items()
        if len(values := quantity(runs, condition))
    }
    beside = difference(runs, "last_test_loss", condition)
    return found | {"diverged": len(diverged(runs, condition))} | ({"added_loss": beside} if beside else {})


def entropy_and_loss(runs: pd.DataFrame, conditions: list[str]) -> dict[str, Any]:
    """Rank correlation, over the conditions of the grid, of the entropy at the start with the loss at the end."""
    entropy, loss = (
        pd.DataFrame({c: OF_A_RUN[quantity](runs, c) for c in conditions if c in GRID})
        for quantity in ("initial_attention_entropy", "last_test_loss")
    )
    whole = loss.dropna().index
    ranks = [statistics.rank_correlation(entropy.loc[seed], loss.loc[seed]) for seed in whole]
    return {"rank_correlation": statistics.rank_interval(ranks).as_metrics()} if ranks else {}


def summary(runs: pd.DataFrame) -> dict[str, Any]:
    """The metrics of all runs.

    Args:
        runs: columns condition, seed, quantity, step, block, value.
    """
    conditions = [name for name in CONDITIONS if name in set(runs["condition"])]
    found: dict[str, Any] = {"conditions": {name: of_condition(runs, name) for name in conditions}}
    if {ARTICLES, NO_LAYERNORM} <= set(conditions):
        quantities = ("gradient_jump", "gradient_spread", "drift", "imbalance", "last_test_loss")
        found["without_layernorm"] = {name: difference(runs, name, NO_LAYERNORM) for name in quantities}
    return found | {"initial_entropy_and_last_loss": entropy_and_loss(runs, conditions)}
