"""What the runs of an ablation say together: each condition over seeds, and how it differs from the base."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from goldilocks.ablations.conditions import BASE, BASES, CONDITIONS, MAIN, NARROW, NO_LAYERNORM, SIZES
from goldilocks.softmax import zone
from goldilocks.stats import intervals
from goldilocks.stats.intervals import Estimate

BySeed: TypeAlias = pd.Series  # of floats, the index being the seeds
SHOWN = ("last_test_loss", "drift")  # of each seed, since one that breaks down makes a mean meaningless
SHARES = {"initial_share_in_zone", "final_share_in_zone"}  # whose intervals end at 0 and 1
NOTHING: BySeed = pd.Series(dtype=float)


class Thresholds(NamedTuple):
    """What was fixed before looking."""

    attends: float
    """A condition has learned to attend if deleting attention costs this at least, in nats/token, ..."""

    gain: float
    """... and its test loss is this far below that of unigrams."""

    least_gradient: float
    """A head lies in the Goldilocks zone if the gradient is at least this share of an even softmax's, ..."""

    least_discrimination: float
    """... and the largest probability at least this multiple of an even one's."""


def chosen(runs: pd.DataFrame, condition: str, quantity: str) -> pd.DataFrame:
    """One quantity of one condition: seed, step, block, value."""
    return runs[(runs["condition"] == condition) & (runs["quantity"] == quantity)]


def diverged(runs: pd.DataFrame, condition: str) -> set[int]:
    """The seeds whose loss did not stay finite."""
    return set(chosen(runs, condition, "diverged")["seed"])


def first(runs: pd.DataFrame, condition: str, quantity: str) -> BySeed:
    """A quantity before the first update, mean over blocks, by seed."""
    rows = chosen(runs, condition, quantity)
    values: BySeed = rows[rows["step"] == 0].groupby("seed")["value"].mean()
    return values


def at_the_end(runs: pd.DataFrame, condition: str, quantity: str) -> pd.DataFrame:
    """One quantity of one condition at the last look, of the seeds that did not diverge: seed, step, block, value."""
    rows = chosen(runs, condition, quantity)
    rows = rows[~rows["seed"].isin(diverged(runs, condition))]
    at_last: pd.DataFrame = rows[rows["step"] == rows["step"].max()]
    return at_last


def last(runs: pd.DataFrame, condition: str, quantity: str) -> BySeed:
    """A quantity at the last look, mean over blocks, by seed, of those that did not diverge."""
    values: BySeed = at_the_end(runs, condition, quantity).groupby("seed")["value"].mean()
    return values


def sound(of: Mapping[str, BySeed]) -> BySeed:
    """The last test loss by seed, of those that did not break down: that did not diverge, nor end above their start."""
    end = of.get("last_test_loss", NOTHING)
    return end[end <= of["first_test_loss"][end.index]]


def widening(runs: pd.DataFrame, condition: str) -> BySeed:
    """How much the QKV weights' σ grew from start to end, relative, mean over blocks, by seed."""
    std = chosen(runs, condition, "std").set_index(["seed", "block", "step"])["value"].unstack("step")
    growth: BySeed = std.ffill(axis=1).iloc[:, -1] / std[0] - 1
    return growth.groupby("seed").mean()


def growth(runs: pd.DataFrame, condition: str, quantity: str) -> BySeed:
    """A quantity of the last block over that of the first, at the last look, by seed."""
    blocks = at_the_end(runs, condition, quantity).pivot(index="seed", columns="block", values="value")
    if blocks.empty:
        return NOTHING
    ratio: BySeed = blocks.iloc[:, -1] / blocks.iloc[:, 0]
    return ratio


def drift(runs: pd.DataFrame, condition: str) -> BySeed:
    """|ln(RMS that attention sees in the last block / in the first)| at the last look, by seed."""
    return growth(runs, condition, "input_rms").map(lambda x: abs(math.log(x)))


def cost_of_deletion(runs: pd.DataFrame, condition: str) -> BySeed:
    """By how much deleting attention raises the last test loss, by seed."""
    return last(runs, condition, "test_loss_without_attention") - last(runs, condition, "test_loss")


def gain_on_unigrams(runs: pd.DataFrame, condition: str) -> BySeed:
    """How far the last test loss is below that of unigrams, by seed."""
    return first(runs, condition, "unigram_loss") - last(runs, condition, "test_loss")


def share_in_zone(runs: pd.DataFrame, condition: str, step: int, thresholds: Thresholds) -> BySeed:
    """The share of all heads that lie in the Goldilocks zone at a look, by seed."""
    of_heads = (chosen(runs, condition, quantity) for quantity in ("relative_gradient", "discrimination"))
    gradient, discrimination = (
        rows[rows["step"] == step].set_index(["seed", "block", "head"])["value"] for rows in of_heads
    )
    inside = zone.contains(gradient, discrimination, thresholds.least_gradient, thresholds.least_discrimination)
    shares: BySeed = inside.groupby("seed").mean()
    return shares


def imbalance(runs: pd.DataFrame, condition: str) -> BySeed:
    """Standard deviation over blocks of the mean log gradient norm, by seed."""
    return chosen(runs, condition, "gradient_log_mean").groupby("seed")["value"].std(ddof=0)


def noted_once(quantity: str) -> Callable[[pd.DataFrame, str], BySeed]:
    """A quantity that a run notes once, mean over blocks, by seed."""
    return lambda runs, condition: chosen(runs, condition, quantity).groupby("seed")["value"].mean()


def quantities(runs: pd.DataFrame, condition: str, thresholds: Thresholds) -> dict[str, BySeed]:
    """A condition's quantities by name, each with a value a seed; logarithms are natural, losses in nats/token."""
    end = int(runs.loc[runs["condition"] == condition, "step"].max())
    of = QUANTITIES | {
        f"{when}_share_in_zone": lambda runs, condition, step=step: share_in_zone(runs, condition, step, thresholds)
        for when, step in (("initial", 0), ("final", end))
    }
    return {name: values.dropna() for name, quantity in of.items() if len(values := quantity(runs, condition))}


QUANTITIES: dict[str, Callable[[pd.DataFrame, str], BySeed]] = {
    "initial_attention_entropy": lambda runs, condition: first(runs, condition, "attention_entropy"),
    "final_attention_entropy": lambda runs, condition: last(runs, condition, "attention_entropy"),
    "initial_largest_logit": lambda runs, condition: first(runs, condition, "largest_logit"),
    "initial_logit_std": lambda runs, condition: first(runs, condition, "logit_std"),
    "final_logit_std": lambda runs, condition: last(runs, condition, "logit_std"),
    "first_test_loss": lambda runs, condition: first(runs, condition, "test_loss"),
    "last_test_loss": lambda runs, condition: last(runs, condition, "test_loss"),
    "loss_of_bigrams": lambda runs, condition: first(runs, condition, "bigram_loss"),
    "cost_of_deletion": cost_of_deletion,
    "gain_on_unigrams": gain_on_unigrams,
    "widening": widening,
    "drift": drift,
    "residual_growth": lambda runs, condition: growth(runs, condition, "residual_rms"),
    "imbalance": imbalance,
    "gradient_jump": noted_once("gradient_log_jump"),
    "gradient_spread": noted_once("gradient_log_spread"),
}


def difference(of: BySeed, other: BySeed) -> dict[str, Any] | None:
    """By how much a quantity is larger in one condition than in another, over seeds that have both, as an estimate."""
    pairs = (of - other).dropna()
    return intervals.mean_interval(pairs.to_numpy()).as_metrics() if len(pairs) else None


def attends(metrics: Mapping[str, Any], thresholds: Thresholds) -> bool:
    """Whether a condition has learned to attend, by the whole of its intervals."""
    needed = (("cost_of_deletion", thresholds.attends), ("gain_on_unigrams", thresholds.gain))
    return all(name in metrics and metrics[name]["low"] >= least for name, least in needed)


def excludes_0(estimate: Estimate) -> bool:
    """Whether an interval lies on one side of 0."""
    return bool(estimate.low > 0 or estimate.high < 0)


def extremes(values: Iterable[float]) -> dict[str, float | None]:
    """The lowest and the highest of some values, None of none."""
    several = list(values)
    return {"lowest": min(several, default=None), "highest": max(several, default=None)}


def without_layernorm(by_condition: Mapping[str, dict[str, BySeed]], conditions: Mapping[str, Any]) -> dict[str, Any]:
    """How a model without LayerNorm differs from the base, and what qualifies that.

    Gradients jump more at higher rates, so the jumps of the other conditions with the same rate stand beside its own.
    """
    of, base = by_condition[NO_LAYERNORM], by_condition[BASE]
    less = ("gradient_jump", "gradient_spread", "drift", "imbalance", "last_test_loss")
    rate = conditions[NO_LAYERNORM]["learning_rate"]
    return {name: difference(of.get(name, NOTHING), base.get(name, NOTHING)) for name in less} | {
        "share_in_zone": difference(base["final_share_in_zone"], of.get("final_share_in_zone", NOTHING)),
        "seeds": len(of["first_test_loss"]),
        "broke_down": conditions[NO_LAYERNORM]["broke_down"],
        "last_test_loss_of_others": extremes(sound(of)),
        "gradient_jump_of_others": extremes(
            other["gradient_jump"]["value"]
            for name, other in conditions.items()
            if name in MAIN and name != NO_LAYERNORM and other["learning_rate"] == rate and "gradient_jump" in other
        ),
    }


def differences(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What the differences of loss to the base of each condition say together.

    Each is marked by `survives_bonferroni`: whether it excludes 0 where the intervals of all hold at once.
    """
    added = {name: Estimate(**of["added_loss"]) for name, of in conditions.items() if "added_loss" in of}
    compared = {name: e for name, e in added.items() if BASES[name] != name}
    survives = {name: excludes_0(intervals.widened(e, len(compared))) for name, e in compared.items()}
    for name, mark in survives.items():
        conditions[name]["added_loss"]["survives_bonferroni"] = mark
    by_d = [added[name] for size in SIZES if (name := f"{size}_by_d") in added]
    return {
        "family": {"differences": len(compared), "survive_bonferroni": sum(survives.values())},
        "by_d_over_sizes": {
            "sizes": len(by_d),
            "exclude_0": sum(map(excludes_0, by_d)),
            **extremes(e.value for e in by_d),
        },
    }


def summary(
    runs: pd.DataFrame, rates: Mapping[str, float], tried: Sequence[float], thresholds: Thresholds
) -> dict[str, Any]:
    """The metrics of all runs.

    Args:
        runs: columns condition, seed, quantity, step, block, head, value.
        rates: the learning rate of each condition.
        tried: the learning rates among which each condition's was chosen.
    """
    by_condition = {name: quantities(runs, name, thresholds) for name in CONDITIONS if name in set(runs["condition"])}
    conditions: dict[str, Any] = {}
    for name, of in by_condition.items():
        metrics: dict[str, Any] = {
            quantity: intervals.mean_interval(v.to_numpy()).as_metrics() for quantity, v in of.items()
        }
        for quantity in SHARES & metrics.keys():
            e = metrics[quantity]
            e.update(low=max(e["low"], 0.0), high=min(e["high"], 1.0))
        metrics |= {"learning_rate": rates[name], "broke_down": len(of["first_test_loss"]) - len(sound(of))}
        metrics["by_seed"] = {
            quantity: {f"seed_{seed}": value for seed, value in of[quantity].items()}
            for quantity in SHOWN
            if quantity in of
        }
        metrics |= {"attends": attends(metrics, thresholds)}
        for quantity, other in (("added_loss", BASES[name]), ("added_by_start", NARROW.get(name, ""))):
            if added := difference(
                of.get("last_test_loss", NOTHING), by_condition.get(other, {}).get("last_test_loss", NOTHING)
            ):
                metrics[quantity] = added
        conditions[name] = metrics
    at_an_end = sum(of["learning_rate"] in (min(tried), max(tried)) for of in conditions.values())
    result: dict[str, Any] = {"conditions": conditions, "conditions_at_an_end_of_the_rates": at_an_end}
    result |= differences(conditions)
    if NO_LAYERNORM in by_condition:
        result["without_layernorm"] = without_layernorm(by_condition, conditions)
    return result
