"""How QKV weights move from the first to the last snapshot of trainings, for each seed and over all. (W5-W8)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import pandas as pd

from goldilocks.stats import intervals
from goldilocks.stats.intervals import Estimate

BySeed: TypeAlias = pd.Series  # of floats, the index being the seeds
ALL_HEADS = -1
KEY = ["seed", "step", "block"]
MERGED = ("std", "tail_mass", "frobenius_norm", "spectral_norm", "stable_rank", "cosine_to_initial")
MEAN_OVER_PARTS = ("excess_kurtosis", "quantile_ratio")
BY_PART = ("std_q", "std_k", "std_v")
FROM_BLOCK = {0: "", 1: "_after_block_0"}
CHANGES = ("excess_kurtosis", "tail_mass", "quantile_ratio", "stable_rank")


def tidy(weights: pd.DataFrame) -> pd.DataFrame:
    """The table `weights` of several seeds as one long table: quantity, seed, step, block, value.

    Most are of the merged matrix; `std_q`, `std_k` and `std_v` are of the parts. The shape of the distribution,
    kurtosis and quantile ratio, is averaged over Q, K and V, since a mixture of parts with different σ has heavier
    tails than any of them. The quantile ratio is (q99 - q01)/(q75 - q25), 3.449 for a normal distribution: a single
    outlier does not change it.
    """
    whole = weights[weights["head"] == ALL_HEADS]
    of_parts = whole[whole["part"] != "qkv"]
    shape = of_parts.assign(
        quantile_ratio=(of_parts["q99"] - of_parts["q01"]) / (of_parts["q75"] - of_parts["q25"])
    ).groupby(KEY, as_index=False)[list(MEAN_OVER_PARTS)]
    parts = [
        whole[whole["part"] == "qkv"].melt(KEY, list(MERGED), "quantity", "value"),
        shape.mean().melt(KEY, list(MEAN_OVER_PARTS), "quantity", "value"),
        of_parts.assign(quantity="std_" + of_parts["part"].astype(str), value=of_parts["std"]),
    ]
    return pd.concat([part[["quantity", *KEY, "value"]] for part in parts], ignore_index=True)


def by_seed_and_block(values: pd.DataFrame, quantity: str, step: int) -> pd.DataFrame:
    """One quantity at one step, by seed (rows) and block (columns); a seed that lacks one in a block has none."""
    chosen = values[(values["quantity"] == quantity) & (values["step"] == step)]
    table = chosen.pivot(index="seed", columns="block", values="value")
    return table.where(table.notna().all(axis=1), axis=0)


def relative(values: pd.DataFrame, quantity: str, last: int) -> pd.DataFrame:
    """A quantity's relative growth from step 0 to the last, by seed (rows) and block (columns)."""
    return by_seed_and_block(values, quantity, last) / by_seed_and_block(values, quantity, 0) - 1


def depth_statistics(growth: pd.DataFrame, kind: str) -> dict[str, BySeed]:
    """Statistics by seed of growth by depth, of `relative`; `kind` is part of their names.

    A rank correlation is Spearman's ρ; it is 0 where all blocks grew alike, which has no order.
    """
    statistics = {}
    if growth.shape[1] > 1:
        statistics[f"lead_of_block_0_in_{kind}"] = growth[0] - growth.drop(columns=0).max(axis=1)
    for start, suffix in FROM_BLOCK.items():
        ranks = growth.iloc[:, start:].T.rank()
        if len(ranks) > 2:
            rho = ranks.corrwith(pd.Series(ranks.index, ranks.index)).mask(ranks.nunique() == 1, 0.0)
            statistics[f"rank_correlation_of_{kind}_with_depth{suffix}"] = rho
    return statistics


def falling_trend_p(growth: pd.DataFrame) -> dict[str, float]:
    """One-sided p-values of Page's test that growth, of `relative`, falls with depth, with and without block 0.

    The seeds are its replicates, the blocks its treatments: E. B. Page, Ordered hypotheses for multiple treatments
    (Journal of the American Statistical Association, 1963). Empty with fewer than two seeds or three blocks.
    """
    from scipy.stats import page_trend_test  # it takes a second to load

    return {
        f"page_p_of_growth{suffix}": float(page_trend_test(growth.to_numpy()[:, start:][:, ::-1]).pvalue)
        for start, suffix in FROM_BLOCK.items()
        if len(growth) > 1 and growth.shape[1] - start > 2
    }


def seed_statistics(values: pd.DataFrame, last: int) -> dict[str, BySeed]:
    """Statistics by seed of the growth from step 0 to the last: means over blocks, trends with depth.

    Growth is relative: after over before, minus 1.
    """
    std, spectral = (relative(values, quantity, last) for quantity in ("std", "spectral_norm"))
    by_block = {"growth_of_std": std, "growth_of_spectral_norm": spectral}
    for name in CHANGES:
        by_block[f"change_of_{name}"] = by_seed_and_block(values, name, last) - by_seed_and_block(values, name, 0)
    by_block["final_cosine_to_initial"] = by_seed_and_block(values, "cosine_to_initial", last)
    means = {name: of.mean(axis=1) for name, of in by_block.items()}
    return means | depth_statistics(std, "growth") | depth_statistics(spectral, "spectral_growth")


def by_name(statistics: Mapping[str, BySeed]) -> dict[str, dict[str, float]]:
    """The result of `seed_statistics` by name and seed, for JSON."""
    return {name: {f"seed_{seed}": value for seed, value in of.items()} for name, of in statistics.items()}


def estimates(statistics: Mapping[str, BySeed]) -> dict[str, Estimate]:
    """The result of `seed_statistics` as estimates over seeds."""
    return {
        name: (intervals.rank_interval if name.startswith("rank") else intervals.mean_interval)(of)
        for name, of in statistics.items()
    }


def metrics(by_block: pd.DataFrame, statistics: Mapping[str, BySeed]) -> dict[str, Any]:
    """How weights moved, over seeds: the estimates of `seed_statistics`, and what else is said of growth by depth.

    Args:
        by_block: the growth of σ, of `relative`.
    """
    found = estimates(statistics)
    if "lead_of_block_0_in_growth" in statistics:
        lead = statistics["lead_of_block_0_in_growth"]
        found["share_of_seeds_where_block_0_grew_most"] = intervals.share_interval(int((lead > 0).sum()), len(lead))
    return {name: estimate.as_metrics() for name, estimate in found.items()} | falling_trend_p(by_block)
