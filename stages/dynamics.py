"""How do QKV distributions evolve, per layer, over exactly the seeds asked for? (claims W1-W9)

Source: the article on weight initialisation, which looks at one training run. Here the seeds are the replicates:
every number is a mean over them with Student's t interval. Growth is measured from the untouched weights to the
last snapshot.

Reads:  data/model5/seed-<s>/ for each s of run.seeds, and nothing else in data/model5/
Writes: data/dynamics.parquet, data/growth.json (how the weights of each seed moved), reports/metrics/dynamics.json,
        and reports/plots/{train_loss,test_loss,std_by_block}.csv

example: python -m stages.dynamics
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from goldilocks.claims import growth
from goldilocks.claims.growth import KEY
from goldilocks.config.dynamics import Settings
from goldilocks.config.run import Seeds as Run
from goldilocks.core import cli, files, params, tables
from goldilocks.softmax import scalings
from goldilocks.stats import intervals, seeds

OUTPUT = files.DATA / "dynamics.parquet"
GROWTH = files.DATA / "growth.json"
WHOLE_MODEL = -1
PER_UPDATE = ("gradient_norm", "update_ratio")
MEAN_OVER_HEADS = ("normalised_entropy", "largest_probability", "logit_std")
EXTREME_OF_HEADS = ("lowest_head_entropy", "largest_logit")
BOUNDS = {  # where their intervals end
    "cosine_to_initial": (-1.0, 1.0),
    **dict.fromkeys(("frobenius_norm", "spectral_norm", "stable_rank", *PER_UPDATE, "largest_logit"), (0.0, np.inf)),
    **dict.fromkeys(("tail_mass", "normalised_entropy", "lowest_head_entropy", "largest_probability"), (0.0, 1.0)),
}
PLOTS = (("train_loss", "train_loss", "loss"), ("test_loss", "test_loss", "loss"), ("std", "std_by_block", "std"))
"""Of each plot the quantity, its name and the name of its column."""


def tidy(weights: pd.DataFrame, updates: pd.DataFrame, attention: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """All quantities in one long table: quantity, seed, step, block, value.

    Updates are those of the merged matrix. Attention is averaged over heads, except for `EXTREME_OF_HEADS`.
    """
    by_head = attention[attention["scaling"] == scalings.OWN].groupby(KEY, as_index=False)
    extremes = by_head.agg(lowest_head_entropy=("normalised_entropy", "min"), largest_logit=("largest_logit", "max"))
    parts = [
        growth.tidy(weights),
        updates[updates["part"] == "qkv"].melt(KEY, list(PER_UPDATE), "quantity", "value"),
        by_head[list(MEAN_OVER_HEADS)].mean().melt(KEY, list(MEAN_OVER_HEADS), "quantity", "value"),
        extremes.melt(KEY, list(EXTREME_OF_HEADS), "quantity", "value"),
        losses.assign(quantity=losses["split"].astype(str) + "_loss", block=WHOLE_MODEL, value=losses["loss"]),
    ]
    return pd.concat([part[["quantity", *KEY, "value"]] for part in parts], ignore_index=True)


def growth_metrics(values: pd.DataFrame, last: int, statistics: Mapping[str, growth.BySeed]) -> dict[str, Any]:
    """How the weights changed as distributions and as matrices from step 0 to the last snapshot, and by depth.

    Args:
        statistics: the result of `growth.seed_statistics`.
    """
    by_block = growth.relative(values, "std", last)
    return growth.metrics(by_block, statistics) | {
        "growth_of_std_by_block": {f"block_{i}": mean for i, mean in by_block.mean().items()},
        "growth_of_std_by_part": {
            name[-1]: growth.relative(values, name, last).to_numpy().mean() for name in growth.BY_PART
        },
    }


def loss_metrics(losses: pd.DataFrame) -> dict[str, Any]:
    """The last losses, what deleting attention costs, and what counting reaches on the same windows, in nats/token."""
    first, last = (
        losses.groupby(["seed", "split"], observed=True)["loss"].agg(end).unstack() for end in ("first", "last")
    )
    by_seed = {
        "last_train_loss": last["train"],
        "last_test_loss": last["test"],
        "cost_of_deleting_attention": last["test_without_attention"] - last["test"],
        "gain_on_unigrams": first["unigram"] - last["test"],
    }
    return {name: intervals.mean_interval(values).as_metrics() for name, values in by_seed.items()} | {
        "loss_of_unigrams": first["unigram"].iloc[0],
        "loss_of_bigrams": first["bigram"].iloc[0],
    }


def early_metrics(values: pd.DataFrame, early: list[int]) -> dict[str, Any]:
    """How near softmax comes to saturation at the early snapshots: the extreme over them and over blocks, by seed."""
    if not early:
        return {}
    of_early = values[values["step"].isin(early)].groupby(["quantity", "seed"])["value"]
    lowest, highest = of_early.min(), of_early.max()
    extremes = {
        "lowest_early_attention_entropy": lowest["normalised_entropy"],
        "lowest_early_head_entropy": lowest["lowest_head_entropy"],
        "largest_early_logit": highest["largest_logit"],
    }
    return {name: intervals.mean_interval(by_seed).as_metrics() for name, by_seed in extremes.items()}


def initial_metrics(checks: pd.DataFrame) -> dict[str, Any]:
    """The initial checks W1-W4, pooled over tensors and seeds: estimate, interval and the value expected.

    The standard error of a standard deviation over n normal values is σ/√(2n).
    """
    result = {}
    for claim, rows in checks.groupby("claim", observed=True):
        n, expected = int(rows["n"].sum()), float(rows["expected"].iloc[0])
        if expected == 0:
            estimate = intervals.t_interval(float(rows["measured"].max()), 0.0, n)
        else:
            pooled = float(np.sqrt(np.average(rows["measured"] ** 2, weights=rows["n"])))
            estimate = intervals.t_interval(pooled, pooled / np.sqrt(2 * n), n)
        result[str(claim)] = estimate.as_metrics() | {"expected": expected}
    return result


def main() -> None:
    cli.no_arguments(__doc__, "stages.dynamics")
    settings, run = params.load("dynamics", Settings, Run)
    weights, updates, attention, losses, checks = (
        seeds.gather(table, run.seeds) for table in ("weights", "updates", "attention", "losses", "initialisation")
    )
    values = tidy(weights, updates, attention, losses)
    summary = seeds.over_seeds(values, ["quantity", "step", "block"], BOUNDS)
    made_by = {"dynamics": settings.model_dump(), "run": run.model_dump()}
    tables.write(OUTPUT, "dynamics", {str(name): column.to_numpy() for name, column in summary.items()}, made_by)

    snapshots = np.sort(weights["step"].unique())
    last = int(snapshots[-1])
    early = snapshots[(snapshots > 0) & (snapshots <= settings.early_share * (losses["step"].max() + 1))]
    start = weights[(weights["step"] == 0) & (weights["part"] == "qkv")]
    statistics = growth.seed_statistics(values, last) if last > 0 else {}
    files.write_json(GROWTH, files.rounded(growth.by_name(statistics)))
    files.write_metrics(
        "dynamics",
        {
            "initialisation": initial_metrics(checks),
            "initial_checks_passed": bool((abs(checks["measured"] - checks["expected"]) <= checks["tolerance"]).all()),
            "last_snapshot": last,
            "mean_initial_weight": intervals.mean_interval(start.groupby("seed")["mean"].mean()).as_metrics(),
        }
        | early_metrics(values, early.tolist())
        | loss_metrics(losses)
        | (growth_metrics(values, last, statistics) if last > 0 else {}),
    )
    for quantity, name, column in PLOTS:
        of_quantity = summary[summary["quantity"] == quantity].rename(columns={"mean": column})
        files.write_plot(name, {key: of_quantity[key] for key in ("step", "block", column)})


if __name__ == "__main__":
    cli.run(main)
