"""How do QKV distributions evolve, per layer, over exactly the seeds asked for? (claims W1-W9)

Source: the article on weight initialisation, which looks at one training run. Here the seeds are the replicates:
every number is a mean over them with Student's t interval. Growth is measured from the untouched weights to the
last snapshot.

Reads:  data/model5/seed-<s>/ for each s of run.seeds, nothing else in there
Writes: data/dynamics.parquet, reports/metrics/dynamics.json, reports/plots/{train_loss,test_loss,std_by_block}.csv
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from stages.common import cli, files, params, statistics, tables
from stages.common.statistics import Estimate

MODEL5 = files.DATA / "model5"
OUTPUT = files.DATA / "dynamics.parquet"
WHOLE_MODEL = -1
FROM_WEIGHTS = ("std", "tail_mass", "excess_kurtosis")
FROM_ATTENTION = ("normalised_entropy", "largest_probability", "logit_std")
SHARES = ("tail_mass", "normalised_entropy", "largest_probability")  # their intervals end at 0 and 1


class Settings(params.Section):
    early_share: float = Field(gt=0, le=1)
    """Share of the steps, from the front, that counts as early in training."""


class Run(params.Seeds):
    """What this stage sees of `run:`."""


def gather(table: str, seeds: list[int]) -> pd.DataFrame:
    """One table of every seed's run, with a column `seed`."""
    runs = ((seed, MODEL5 / f"seed-{seed}" / f"{table}.parquet") for seed in seeds)
    return pd.concat([tables.read(path, table).assign(seed=seed) for seed, path in runs], ignore_index=True)


def tidy(weights: pd.DataFrame, attention: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """All quantities in one long table: quantity, seed, step, block, value.

    Attention is averaged over heads. Kurtosis is averaged over Q, K and V, since a mixture of parts with different σ
    has heavier tails than any of them; σ and tail mass are of the merged matrix.
    """
    merged = weights[weights["part"] == "qkv"]
    apart = weights[weights["part"] != "qkv"].groupby(["seed", "step", "block"], as_index=False)
    kurtosis = apart[["excess_kurtosis"]].mean()
    heads = attention.groupby(["seed", "step", "block"], as_index=False)[list(FROM_ATTENTION)].mean()
    key = ["seed", "step", "block"]
    parts = [
        merged.melt(key, ["std", "tail_mass"], "quantity", "value"),
        kurtosis.melt(key, ["excess_kurtosis"], "quantity", "value"),
        heads.melt(key, list(FROM_ATTENTION), "quantity", "value"),
        losses.assign(quantity=losses["split"].astype(str) + "_loss", block=WHOLE_MODEL, value=losses["loss"]),
    ]
    columns = ["quantity", "seed", "step", "block", "value"]
    return pd.concat([part[columns] for part in parts], ignore_index=True)


def over_seeds(values: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % t interval over seeds of every quantity, step and block: the `dynamics` table."""
    key = ["quantity", "step", "block"]
    grouped = values.groupby(key)["value"].agg(["mean", "sem", "size"]).reset_index()
    n = int(grouped["size"].max())
    unit = statistics.t_interval(0.0, 1.0, n).high if n > 1 else 0.0
    half = unit * grouped["sem"].fillna(0.0)
    low, high = grouped["mean"] - half, grouped["mean"] + half
    share = grouped["quantity"].isin(SHARES)
    return grouped[key].assign(
        mean=grouped["mean"],
        low=low.where(~share, low.clip(0, 1)),
        high=high.where(~share, high.clip(0, 1)),
        seeds=grouped["size"],
    )


def by_seed_and_block(values: pd.DataFrame, quantity: str, step: int) -> np.ndarray:
    """One quantity at one step as (seeds, blocks), in the order of the seeds' numbers."""
    chosen = values[(values["quantity"] == quantity) & (values["step"] == step)]
    return chosen.pivot(index="seed", columns="block", values="value").to_numpy()


def growth_metrics(std_before: np.ndarray, std_after: np.ndarray) -> dict[str, Any]:
    """What is said about the widening by depth, from the blocks' σ before and after, each (seeds, blocks).

    Growth is relative: σ after over σ before, minus 1.
    """
    growth = std_after / std_before - 1
    blocks = growth.shape[1]
    result: dict[str, Estimate] = {"growth_of_std": statistics.mean_interval(growth.mean(1))}
    if blocks > 2:
        depth = np.arange(blocks)
        ranks = [statistics.rank_correlation(depth, seed) for seed in growth]
        correlation = statistics.mean_interval(ranks)
        bounded = correlation._replace(low=max(correlation.low, -1.0), high=min(correlation.high, 1.0))
        result["rank_correlation_of_growth_with_depth"] = bounded
    if blocks > 1:
        lead = growth[:, 0] - growth[:, 1:].max(1)
        result["lead_of_block_0_in_growth"] = statistics.mean_interval(lead)
        result["share_of_seeds_where_block_0_grew_most"] = statistics.share_interval(int((lead > 0).sum()), len(lead))
    metrics: dict[str, Any] = {name: estimate.as_metrics() for name, estimate in result.items()}
    metrics["growth_of_std_by_block"] = {f"block_{i}": growth[:, i].mean() for i in range(blocks)}
    return metrics


def initial_metrics(checks: pd.DataFrame) -> dict[str, Any]:
    """The initial checks W1-W4, pooled over tensors and seeds: estimate, interval and the value expected.

    The standard error of a standard deviation over n normal values is σ/√(2n).
    """
    result = {}
    for claim, rows in checks.groupby("claim", observed=True):
        n = int(rows["n"].sum())
        expected = float(rows["expected"].iloc[0])
        if expected == 0:
            value = float(rows["measured"].max())
            estimate = Estimate(value, value, value, n)
        else:
            pooled = float(np.sqrt(np.average(rows["measured"] ** 2, weights=rows["n"])))
            estimate = statistics.t_interval(pooled, pooled / np.sqrt(2 * n), n)
        result[str(claim)] = estimate.as_metrics() | {"expected": expected}
    return result


def main() -> None:
    cli.no_arguments(__doc__, "stages.dynamics")
    settings, run = params.load("dynamics", Settings, Run)
    weights, attention, losses, checks = (
        gather(table, run.seeds) for table in ("weights", "attention", "losses", "initialisation")
    )
    values = tidy(weights, attention, losses)
    summary = over_seeds(values)
    made_by = {"dynamics": settings.model_dump(), "run": run.model_dump()}
    tables.write(OUTPUT, "dynamics", {str(name): column.to_numpy() for name, column in summary.items()}, made_by)

    snapshots = np.sort(weights["step"].unique())
    last = int(snapshots[-1])
    std = {step: by_seed_and_block(values, "std", step) for step in (0, last)}
    early = snapshots[(snapshots > 0) & (snapshots <= settings.early_share * (losses["step"].max() + 1))]
    entropy = [by_seed_and_block(values, "normalised_entropy", step).min(1) for step in early]
    change = {
        f"change_of_{name}": statistics.mean_interval(
            (by_seed_and_block(values, name, last) - by_seed_and_block(values, name, 0)).mean(1)
        ).as_metrics()
        for name in ("excess_kurtosis", "tail_mass")
    }
    final = {
        name: statistics.mean_interval(
            losses[(losses["split"] == split)].groupby("seed")["loss"].last().to_numpy()
        ).as_metrics()
        for name, split in (("last_train_loss", "train"), ("last_test_loss", "test"))
    }
    files.write_metrics(
        "dynamics",
        {
            "initialisation": initial_metrics(checks),
            "last_snapshot": last,
            "mean_initial_weight": statistics.mean_interval(
                weights[(weights["part"] == "qkv") & (weights["step"] == 0)].groupby("seed")["mean"].mean()
            ).as_metrics(),
        }
        | (
            {"lowest_early_attention_entropy": statistics.mean_interval(np.min(entropy, axis=0)).as_metrics()}
            if entropy
            else {}
        )
        | final
        | (growth_metrics(std[0], std[last]) | change if last > 0 else {}),
    )
    for quantity, name, column in (
        ("train_loss", "train_loss", "loss"),
        ("test_loss", "test_loss", "loss"),
        ("std", "std_by_block", "std"),
    ):
        of_quantity = summary[summary["quantity"] == quantity]
        columns = {key: of_quantity[key].to_numpy() for key in ("step", "block")}
        files.write_plot(name, columns | {column: of_quantity["mean"].to_numpy()})


if __name__ == "__main__":
    cli.run(main)
