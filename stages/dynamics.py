"""How do QKV distributions evolve, per layer, over exactly the seeds asked for? (claims W1-W9)

Source: the article on weight initialisation, which looks at one training run. Here the seeds are the replicates:
every number is a mean over them with Student's t interval. Growth is measured from the untouched weights to the
last snapshot.

Reads:  data/model5/seed-<s>/ for each s of run.seeds, nothing else in there
Writes: data/dynamics.parquet, reports/metrics/dynamics.json, of each run reports/metrics/train/seed-<s>.json, and
        reports/plots/{train_loss,test_loss,std_by_block}.csv

example: python -m stages.dynamics
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.common import arrays, cli, files, params, replicates, statistics, tables
from stages.common.statistics import Estimate
from stages.config.dynamics import Run, Settings

OUTPUT = files.DATA / "dynamics.parquet"
WHOLE_MODEL = -1
ALL_HEADS = -1
KEY = ["seed", "step", "block"]
OF_MERGED = ("std", "tail_mass", "frobenius_norm", "spectral_norm", "stable_rank", "cosine_to_initial")
OF_UPDATES = ("gradient_norm", "update_ratio")
MEAN_OVER_PARTS = ("excess_kurtosis", "quantile_ratio")
BY_PART = ("std_q", "std_k", "std_v")
MEAN_OVER_HEADS = ("normalised_entropy", "largest_probability", "logit_std")
EXTREME_OF_HEADS = ("lowest_head_entropy", "largest_logit")
QUANTITIES = (*OF_MERGED, *OF_UPDATES, *MEAN_OVER_PARTS, *BY_PART, *MEAN_OVER_HEADS, *EXTREME_OF_HEADS)
BOUNDS = {  # where their intervals end
    "cosine_to_initial": (-1.0, 1.0),
    **dict.fromkeys(("frobenius_norm", "spectral_norm", "stable_rank", *OF_UPDATES, "largest_logit"), (0.0, np.inf)),
    **dict.fromkeys(("tail_mass", "normalised_entropy", "lowest_head_entropy", "largest_probability"), (0.0, 1.0)),
}


def tidy(weights: pd.DataFrame, updates: pd.DataFrame, attention: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """All quantities in one long table: quantity, seed, step, block, value.

    Of the weights and updates, that of the merged matrix; `std_q`, `std_k` and `std_v` are of the parts. The shape of
    the distribution, kurtosis and quantile ratio, is averaged over Q, K and V, since a mixture of parts with different
    σ has heavier tails than any of them. Attention is averaged over heads, but for what `EXTREME_OF_HEADS` names. The
    quantile ratio is (q99 - q01)/(q75 - q25), 3.449 for a normal distribution: it knows no single outlier.
    """
    whole = weights[weights["head"] == ALL_HEADS]
    of_parts = whole[whole["part"] != "qkv"]
    shape = of_parts.assign(
        quantile_ratio=(of_parts["q99"] - of_parts["q01"]) / (of_parts["q75"] - of_parts["q25"])
    ).groupby(KEY, as_index=False)[list(MEAN_OVER_PARTS)]
    by_head = attention[attention["scaling"] == replicates.OWN_SCALING].groupby(KEY, as_index=False)
    extremes = by_head.agg(lowest_head_entropy=("normalised_entropy", "min"), largest_logit=("largest_logit", "max"))
    parts = [
        whole[whole["part"] == "qkv"].melt(KEY, list(OF_MERGED), "quantity", "value"),
        updates[updates["part"] == "qkv"].melt(KEY, list(OF_UPDATES), "quantity", "value"),
        shape.mean().melt(KEY, list(MEAN_OVER_PARTS), "quantity", "value"),
        of_parts.assign(quantity="std_" + of_parts["part"].astype(str), value=of_parts["std"]),
        by_head[list(MEAN_OVER_HEADS)].mean().melt(KEY, list(MEAN_OVER_HEADS), "quantity", "value"),
        extremes.melt(KEY, list(EXTREME_OF_HEADS), "quantity", "value"),
        losses.assign(quantity=losses["split"].astype(str) + "_loss", block=WHOLE_MODEL, value=losses["loss"]),
    ]
    return pd.concat([part[["quantity", *KEY, "value"]] for part in parts], ignore_index=True)


def by_seed_and_block(values: pd.DataFrame, quantity: str, step: int) -> np.ndarray:
    """One quantity at one step as (seeds, blocks), in the order of the seeds' numbers."""
    chosen = values[(values["quantity"] == quantity) & (values["step"] == step)]
    return chosen.pivot(index="seed", columns="block", values="value").to_numpy()


def depth_estimates(growth: np.ndarray, kind: str) -> dict[str, Estimate]:
    """What is said about growth by depth, growth being (seeds, blocks); `kind` is the word for it in the names."""
    blocks = growth.shape[1]
    result: dict[str, Estimate] = {}
    if blocks > 2:
        ranks = [statistics.rank_correlation(np.arange(blocks), seed) for seed in growth]
        result[f"rank_correlation_of_{kind}_with_depth"] = statistics.rank_interval(ranks)
    if blocks > 1:
        result[f"lead_of_block_0_in_{kind}"] = statistics.mean_interval(growth[:, 0] - growth[:, 1:].max(1))
    return result


def growth_metrics(std_before: np.ndarray, std_after: np.ndarray) -> dict[str, Any]:
    """What is said about the widening by depth, from the blocks' σ before and after, each (seeds, blocks).

    Growth is relative: σ after over σ before, minus 1.
    """
    growth = std_after / std_before - 1
    blocks = growth.shape[1]
    result = {"growth_of_std": statistics.mean_interval(growth.mean(1))} | depth_estimates(growth, "growth")
    if blocks > 1:
        most = int((growth[:, 0] > growth[:, 1:].max(1)).sum())
        result["share_of_seeds_where_block_0_grew_most"] = statistics.share_interval(most, len(growth))
    metrics: dict[str, Any] = {name: estimate.as_metrics() for name, estimate in result.items()}
    metrics["growth_of_std_by_block"] = {f"block_{i}": growth[:, i].mean() for i in range(blocks)}
    return metrics


def matrix_metrics(values: pd.DataFrame, last: int) -> dict[str, Any]:
    """How the weights changed as distributions and as matrices from step 0 to the last snapshot, mean over blocks."""

    def at(quantity: str, step: int) -> np.ndarray:
        return by_seed_and_block(values, quantity, step)

    changes = {
        f"change_of_{name}": statistics.mean_interval((at(name, last) - at(name, 0)).mean(1))
        for name in ("excess_kurtosis", "tail_mass", "quantile_ratio", "stable_rank")
    }
    spectral = at("spectral_norm", last) / at("spectral_norm", 0) - 1
    estimates = {
        **changes,
        "growth_of_spectral_norm": statistics.mean_interval(spectral.mean(1)),
        **depth_estimates(spectral, "spectral_growth"),
        "final_cosine_to_initial": statistics.mean_interval(at("cosine_to_initial", last).mean(1)),
        "first_update_ratio": statistics.mean_interval(at("update_ratio", 0).mean(1)),
        "last_update_ratio": statistics.mean_interval(at("update_ratio", last).mean(1)),
    }
    by_part = {name[-1]: (at(name, last) / at(name, 0) - 1).mean() for name in BY_PART}
    return {name: e.as_metrics() for name, e in estimates.items()} | {"growth_of_std_by_part": by_part}


def early_metrics(values: pd.DataFrame, early: list[int]) -> dict[str, Any]:
    """How near softmax comes to saturation at the early snapshots: the extreme over them and over blocks, by seed."""
    if not early:
        return {}
    of_early = values[values["step"].isin(early)].groupby(["quantity", "seed"])["value"]
    lowest, highest = of_early.min(), of_early.max()
    found = {
        "lowest_early_attention_entropy": lowest["normalised_entropy"],
        "lowest_early_head_entropy": lowest["lowest_head_entropy"],
        "largest_early_logit": highest["largest_logit"],
    }
    return {name: statistics.mean_interval(by_seed).as_metrics() for name, by_seed in found.items()}


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


def of_run(run: Path, losses: pd.DataFrame, checks: pd.DataFrame) -> dict[str, Any]:
    """What a single training came to.

    Args:
        run: its outputs.
        losses, checks: its tables `losses` and `initialisation`.
    """
    with arrays.opened(run / "export" / "model.safetensors") as tensors:
        sizes = {name: math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    by_split = {split: losses.loc[losses["split"] == split, "loss"] for split in ("train", "test")}
    return {
        "parameters": sum(sizes.values()) - sizes["lm_head.weight"],  # which is tied, but in the export
        "initial_checks_passed": bool((abs(checks["measured"] - checks["expected"]) <= checks["tolerance"]).all()),
        "loss_of_guessing": math.log(tables.parameters(run / "losses.parquet")["tokens"]["vocabulary"]),
        **{f"first_{split}_loss": loss.iloc[0] for split, loss in by_split.items()},
        **{f"last_{split}_loss": loss.iloc[-1] for split, loss in by_split.items()},
    }


def main() -> None:
    cli.no_arguments(__doc__, "stages.dynamics")
    settings, run = params.load("dynamics", Settings, Run)
    weights, updates, attention, losses, checks = (
        replicates.gather(table, run.seeds) for table in ("weights", "updates", "attention", "losses", "initialisation")
    )
    values = tidy(weights, updates, attention, losses)
    summary = replicates.over_seeds(values, ["quantity", "step", "block"], BOUNDS)
    made_by = {"dynamics": settings.model_dump(), "run": run.model_dump()}
    tables.write(OUTPUT, "dynamics", {str(name): column.to_numpy() for name, column in summary.items()}, made_by)

    snapshots = np.sort(weights["step"].unique())
    last = int(snapshots[-1])
    std = {step: by_seed_and_block(values, "std", step) for step in (0, last)}
    early = snapshots[(snapshots > 0) & (snapshots <= settings.early_share * (losses["step"].max() + 1))]
    final = {
        name: statistics.mean_interval(
            losses[(losses["split"] == split)].groupby("seed")["loss"].last().to_numpy()
        ).as_metrics()
        for name, split in (("last_train_loss", "train"), ("last_test_loss", "test"))
    }
    start = weights[(weights["step"] == 0) & (weights["part"] == "qkv")]
    files.write_metrics(
        "dynamics",
        {
            "initialisation": initial_metrics(checks),
            "last_snapshot": last,
            "mean_initial_weight": statistics.mean_interval(start.groupby("seed")["mean"].mean()).as_metrics(),
        }
        | early_metrics(values, early.tolist())
        | final
        | (growth_metrics(std[0], std[last]) | matrix_metrics(values, last) if last > 0 else {}),
    )
    with files.atomic_directory(files.METRICS / "train") as folder:
        for seed in run.seeds:
            own = (table[table["seed"] == seed] for table in (losses, checks))
            found = of_run(files.MODEL5 / f"seed-{seed}", *own)
            files.write_json(folder / f"seed-{seed}.json", files.rounded(found))
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
