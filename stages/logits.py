"""Are attention's logits what experiment 1 assumes, and what does softmax do with them? (claims S5, S6, W9)

The article on numerical scaling looks at logits of random, independent q and k. This stage looks at Model 5's, at
every snapshot of its training, on fixed test windows: with the 1/√d it was trained with, and with no scaling or 1/d at
inference, in every block.

How far logits are from normal is the largest distance between their distribution function, each head's in its own mean
and σ, and the normal one (Kolmogorov's distance, at the edges of a histogram). How q and k align is the root mean
square of their cosine, less its row's mean, times √d: 1 where they are independent, so that differences of q·k within a
row grow as √d; more where they align. A head lies in the Goldilocks zone, below it or above it as in the map: by the
gradient that its rows pass, and by how they discriminate.

Reads:  data/model5/seed-<s>/ for each s of run.seeds, and nothing else in data/model5/
Writes: data/logits.parquet, reports/metrics/logits.json

example: python -m stages.logits
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from goldilocks.config import goldilocks
from goldilocks.config.run import Seeds as Run
from goldilocks.core import cli, files, params, tables
from goldilocks.softmax import scalings
from goldilocks.softmax import zone as goldilocks_zone
from goldilocks.stats import intervals, seeds

OUTPUT = files.DATA / "logits.parquet"
WHOLE_MODEL = -1
KEY = ["scaling", "seed", "step", "block"]
ROW_STATISTICS = (
    "normalised_entropy", "largest_probability", "effective_share", "share_holding_half", "share_negligible",
    "jacobian_norm",
)  # fmt: skip
LOGIT_QUANTITIES = ("logit_std", "logit_skewness", "logit_excess_kurtosis", "centred_alignment", "own_cosine")
ZONE_SHARES = {
    "inside_zone": goldilocks_zone.INSIDE, "below_zone": goldilocks_zone.FLAT, "above_zone": goldilocks_zone.SATURATED,
}  # fmt: skip
OF_HEADS = [*ROW_STATISTICS, *LOGIT_QUANTITIES, *ZONE_SHARES]
BOUNDS = dict.fromkeys((*ROW_STATISTICS, *ZONE_SHARES, "gaussian_distance"), (0.0, 1.0)) | {"own_cosine": (-1.0, 1.0)}


class Settings(params.Section):
    """This stage has no parameters of its own."""


def gaussian_distance(histogram: pd.DataFrame) -> float:
    """The largest difference between the distribution functions of a histogram and of N(0, 1), at the edges.

    Args:
        histogram: `right` edges in order and `count`.
    """
    from scipy.special import ndtr

    below = histogram["count"].cumsum().to_numpy() / histogram["count"].sum()
    return float(np.abs(below - ndtr(histogram["right"].to_numpy())).max())


def tidy(
    attention: pd.DataFrame,
    losses: pd.DataFrame,
    histograms: pd.DataFrame,
    head_width: int,
    zone: goldilocks.Settings,
) -> pd.DataFrame:
    """All quantities in one long table: quantity, scaling, seed, step, block, value; those of heads averaged."""
    limits = (zone.least_gradient, zone.least_discrimination)
    side = goldilocks_zone.sides(attention["relative_gradient"], attention["discrimination"], *limits)
    by_block = (
        attention.assign(
            centred_alignment=attention["centred_cosine"] * np.sqrt(head_width),
            **{name: (side == zone_side).astype(float) for name, zone_side in ZONE_SHARES.items()},
        )
        .groupby(KEY, as_index=False, observed=True)[OF_HEADS]
        .mean()
    )
    distances = histograms.groupby(["seed", "step", "block"])[["right", "count"]].apply(gaussian_distance)
    parts = [
        by_block.melt(KEY, OF_HEADS, "quantity", "value"),
        distances.reset_index(name="value").assign(quantity="gaussian_distance", scaling=scalings.OWN),
        losses.assign(quantity="loss", block=WHOLE_MODEL, value=losses["loss"]),
    ]
    return pd.concat([part[["quantity", *KEY, "value"]].astype({"scaling": str}) for part in parts], ignore_index=True)


def estimates(values: pd.DataFrame, step: int) -> dict[str, Any]:
    """Every quantity in every scaling at a step, mean over blocks: {scaling: {quantity: estimate over seeds}}."""
    means = values[values["step"] == step].groupby(["scaling", "quantity", "seed"])["value"].mean()
    found: dict[str, Any] = {}
    for (scaling, quantity), of_seeds in means.groupby(["scaling", "quantity"]):
        found.setdefault(str(scaling), {})[quantity] = intervals.mean_interval(of_seeds).as_metrics()
    return found


def most_inside(values: pd.DataFrame) -> dict[str, Any]:
    """The snapshot at which most heads lie in the zone, and their share, over seeds."""
    of_own = values[(values["quantity"] == "inside_zone") & (values["scaling"] == scalings.OWN)]
    by_seed = of_own.groupby(["step", "seed"])["value"].mean().unstack("seed")
    most = int(by_seed.mean(axis=1).to_numpy().argmax())
    share = intervals.mean_interval(by_seed.iloc[most]).as_metrics()
    return {"step": int(by_seed.index.to_numpy()[most]), "inside_zone": share | {"high": min(share["high"], 1.0)}}


def costs(values: pd.DataFrame, step: int) -> dict[str, Any]:
    """By how much the loss rises at a step when attention is scaled otherwise, seed by seed."""
    chosen = values[(values["quantity"] == "loss") & (values["step"] == step)]
    losses = chosen.pivot(index="seed", columns="scaling", values="value")
    added = losses.sub(losses[scalings.OWN], axis=0).drop(columns=scalings.OWN)
    return {
        str(scaling): intervals.mean_interval(rise).as_metrics()
        | {"by_seed": {f"seed_{seed}": value for seed, value in rise.items()}}
        for scaling, rise in added.items()
    }


def main() -> None:
    cli.no_arguments(__doc__, "stages.logits")
    _, run = params.load("logits", Settings, Run)
    attention, losses, histograms = (
        seeds.gather(table, run.seeds) for table in ("attention", "inference", "logit_histograms")
    )
    model = tables.parameters(files.MODEL5 / f"seed-{run.seeds[0]}" / "attention.parquet")["train"]
    zone, _ = params.load("goldilocks", goldilocks.Settings, params.Section)
    values = tidy(attention, losses, histograms, model["width"] // model["heads"], zone)
    summary = seeds.over_seeds(values, ["quantity", "scaling", "step", "block"], BOUNDS)
    columns = {str(name): column.to_numpy() for name, column in summary.items()}
    tables.write(OUTPUT, "logits", columns, {"run": run.model_dump()})
    last = int(values["step"].max())
    files.write_metrics(
        "logits",
        {
            "last_snapshot": last,
            "first": estimates(values, 0),
            "last": estimates(values, last),
            "most_inside": most_inside(values),
            "added_loss": costs(values, last),
        },
    )


if __name__ == "__main__":
    cli.run(main)
