"""What the runs of an ablation say together: each condition over seeds, and how it differs from the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from goldilocks.ablations.conditions import BASE, BASES, CONDITIONS, MAIN, NARROW, NO_LAYERNORM, SIZES
from goldilocks.claims import growth
from goldilocks.claims.growth import BySeed
from goldilocks.config import claims, goldilocks
from goldilocks.softmax import zone
from goldilocks.stats import intervals
from goldilocks.stats.intervals import Estimate

KEY = ["condition", "seed"]
RECORDED = [
    "attention_entropy", "largest_logit", "logit_std", "test_loss", "test_loss_without_attention", "unigram_loss",
    "bigram_loss", "gradient_log_jump", "gradient_log_spread",
]  # fmt: skip
"""What blocks, heads or the whole model have of the table `ablation`; a training that diverged may lack some."""

SHOWN = ("last_test_loss", "drift")  # of each seed, since one that breaks down makes a mean meaningless
SHARES = {"initial_share_in_zone", "final_share_in_zone"}  # whose intervals end at 0 and 1


def chosen(runs: pd.DataFrame, condition: str, quantity: str) -> pd.DataFrame:
    """One quantity of one condition: seed, step, block, value."""
    return runs[(runs["condition"] == condition) & (runs["quantity"] == quantity)]


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean of each of `RECORDED` (columns) over blocks and heads, by condition and seed."""
    means = rows.groupby([*KEY, "quantity"], observed=True)["value"].mean()
    return means.unstack("quantity").reindex(columns=RECORDED)


def _ratio(rows: pd.DataFrame, quantity: str, along: str, key: list[str]) -> BySeed:
    """The last value of a quantity along steps or blocks, over the first one."""
    ends = rows[rows["quantity"] == quantity].sort_values(along).groupby(key)["value"].agg(["first", "last"])
    return ends["last"] / ends["first"]


def _share_in_zone(rows: pd.DataFrame, of_zone: goldilocks.Settings) -> BySeed:
    """The share of all heads that lie in the Goldilocks zone."""
    both = ["relative_gradient", "discrimination"]
    of_heads = rows[rows["quantity"].isin(both)]
    heads = of_heads.pivot(index=[*KEY, "block", "head"], columns="quantity", values="value").reindex(columns=both)
    limits = (of_zone.least_gradient, of_zone.least_discrimination)
    return zone.contains(heads["relative_gradient"], heads["discrimination"], *limits).groupby(KEY).mean()


def sound(of: pd.DataFrame) -> BySeed:
    """The last test loss by seed, of those that did not break down: that did not diverge, nor end above their start."""
    return of.loc[of["last_test_loss"] <= of["first_test_loss"], "last_test_loss"]


def quantities(runs: pd.DataFrame, of_zone: goldilocks.Settings) -> pd.DataFrame:
    """All quantities (columns) by condition and seed; logarithms are natural, losses in nats/token.

    What blocks or heads have is averaged. At the last look, diverged trainings have nothing.
    """
    at_first = runs[runs["step"] == 0]
    diverged = pd.MultiIndex.from_frame(runs.loc[runs["quantity"] == "diverged", KEY])
    whole = runs[~pd.MultiIndex.from_frame(runs[KEY]).isin(diverged)]
    at_last = whole[whole["step"] == whole.groupby(["condition", "quantity"], observed=True)["step"].transform("max")]
    first, last, any_step = _means(at_first), _means(at_last), _means(runs)
    gradient = runs[runs["quantity"] == "gradient_log_mean"].groupby(KEY)["value"]  # by block
    return pd.DataFrame(
        {
            "initial_attention_entropy": first["attention_entropy"],
            "final_attention_entropy": last["attention_entropy"],
            "initial_largest_logit": first["largest_logit"],
            "initial_logit_std": first["logit_std"],
            "final_logit_std": last["logit_std"],
            "first_test_loss": first["test_loss"],
            "last_test_loss": last["test_loss"],
            "loss_of_bigrams": first["bigram_loss"],
            "cost_of_deletion": last["test_loss_without_attention"] - last["test_loss"],
            "gain_on_unigrams": first["unigram_loss"] - last["test_loss"],
            "widening": (_ratio(runs, "std", "step", [*KEY, "block"]) - 1).groupby(KEY).mean(),
            "drift": np.log(_ratio(at_last, "input_rms", "block", KEY)).abs(),
            "residual_growth": _ratio(at_last, "residual_rms", "block", KEY),
            "imbalance": gradient.std(ddof=0),
            "gradient_jump": any_step["gradient_log_jump"],  # noted once
            "gradient_spread": any_step["gradient_log_spread"],
            "initial_share_in_zone": _share_in_zone(at_first, of_zone),
            "final_share_in_zone": _share_in_zone(at_last, of_zone),
        }
    )


def difference(of: BySeed, other: BySeed) -> dict[str, Any] | None:
    """By how much a quantity is larger in one condition than in another, over seeds that have both, as an estimate."""
    pairs = (of - other).dropna()
    return intervals.mean_interval(pairs.to_numpy()).as_metrics() if len(pairs) else None


def attends(metrics: Mapping[str, Any], margins: claims.Settings) -> bool:
    """Whether a condition has learned to attend, by the whole of its intervals."""
    needed = (("cost_of_deletion", margins.attends), ("gain_on_unigrams", margins.gain))
    return all(name in metrics and metrics[name]["low"] >= least for name, least in needed)


def excludes_0(estimate: Estimate) -> bool:
    """Whether an interval lies on one side of 0."""
    return bool(estimate.low > 0 or estimate.high < 0)


def extremes(values: Iterable[float]) -> dict[str, float | None]:
    """The lowest and the highest of some values, None of none."""
    several = list(values)
    return {"lowest": min(several, default=None), "highest": max(several, default=None)}


def _by_step(runs: pd.DataFrame, condition: str, quantity: str) -> pd.DataFrame:
    """A quantity, of blocks the largest, by step (rows) and seed (columns)."""
    of_seeds = chosen(runs, condition, quantity).groupby(["step", "seed"])["value"].max()
    table: pd.DataFrame = of_seeds.unstack("seed")
    return table


def largest_spike(runs: pd.DataFrame, condition: str, others: Sequence[str]) -> dict[str, Any] | None:
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


def without_layernorm(
    runs: pd.DataFrame, by_condition: Mapping[str, pd.DataFrame], conditions: Mapping[str, Any]
) -> dict[str, Any]:
    """How a model without LayerNorm differs from the base, and what qualifies that.

    Gradients jump more at higher rates, so the jumps of the other conditions with the same rate stand beside its own.

    Args:
        runs: see `summary`.
        by_condition: the quantities of each condition by seed.
        conditions: the metrics of all conditions.
    """
    of, base, own = by_condition[NO_LAYERNORM], by_condition[BASE], conditions[NO_LAYERNORM]
    alike = [
        name
        for name, other in conditions.items()
        if name in MAIN and name != NO_LAYERNORM and other["learning_rate"] == own["learning_rate"]
    ]
    less = ("gradient_jump", "gradient_spread", "drift", "imbalance", "last_test_loss")
    jumps = [conditions[name]["gradient_jump"]["value"] for name in alike if "gradient_jump" in conditions[name]]
    found = {name: difference(of[name], base[name]) for name in less} | {
        "share_in_zone": difference(base["final_share_in_zone"], of["final_share_in_zone"]),
        "seeds": len(of),
        "broke_down": own["broke_down"],
        "last_test_loss_of_others": extremes(sound(of)),
        "gradient_jump_of_others": extremes(jumps),
    }
    spike = largest_spike(runs, NO_LAYERNORM, alike)
    return found | {"spike": spike} if spike else found


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
    runs: pd.DataFrame,
    rates: Mapping[str, float],
    tried: Sequence[float],
    margins: claims.Settings,
    of_zone: goldilocks.Settings,
) -> dict[str, Any]:
    """The metrics of all runs.

    Args:
        runs: columns condition, seed, quantity, step, block, head, value.
        rates: the learning rate of each condition.
        tried: the learning rates among which each condition's was chosen.
    """
    table = quantities(runs, of_zone)
    by_condition = {name: table.loc[[name]].droplevel("condition") for name in CONDITIONS if name in table.index}
    conditions: dict[str, Any] = {}
    for name, of in by_condition.items():
        measured = of.dropna(axis="columns", how="all")
        metrics: dict[str, Any] = {
            str(quantity): intervals.mean_interval(values.dropna()).as_metrics()
            for quantity, values in measured.items()
        }
        for quantity in SHARES & metrics.keys():
            e = metrics[quantity]
            e.update(low=max(e["low"], 0.0), high=min(e["high"], 1.0))
        metrics |= {
            "learning_rate": rates[name],
            "broke_down": len(of) - len(sound(of)),
            "by_seed": growth.by_name({each: measured[each].dropna() for each in SHOWN if each in measured}),
            "attends": attends(metrics, margins),
        }
        loss = of["last_test_loss"]
        for quantity, other in (("added_loss", BASES[name]), ("added_by_start", NARROW.get(name))):
            if other in by_condition and (added := difference(loss, by_condition[other]["last_test_loss"])):
                metrics[quantity] = added
        conditions[name] = metrics
    at_an_end = sum(of["learning_rate"] in (min(tried), max(tried)) for of in conditions.values())
    result: dict[str, Any] = {"conditions": conditions, "conditions_at_an_end_of_the_rates": at_an_end}
    result |= differences(conditions)
    if NO_LAYERNORM in by_condition:
        result["without_layernorm"] = without_layernorm(runs, by_condition, conditions)
    return result
