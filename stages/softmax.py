"""What does dividing by √d do to softmax? (claims S5-S7, S9)

Source: experiment 3 of the article on numerical scaling. Softmax of QKᵀ and of QKᵀ/√d, over each row as attention
takes it and over all entries at once as the exercise does, with the negative logarithm of each. Beside the one
realisation shown, fresh draws of Q and K show how much of it is chance.

That the scaling is a sampling temperature (S9) is tested by two other routes than softmax(z/√d) itself: the unscaled
probabilities raised to 1/T and renormalised, and the frequencies of draws by the Gumbel-max rule
(argmax of z + T·g with standard Gumbel g follows softmax(z/T); Gumbel 1954).

Reads:  data/matrices/experiment-3.safetensors
Writes: data/softmax.parquet, reports/metrics/softmax.json, reports/plots/softmax.csv

example: python -m stages.softmax
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from goldilocks.config.run import RootSeed as Run
from goldilocks.config.softmax import Settings
from goldilocks.core import arrays, cli, files, params, rng, tables
from goldilocks.softmax import scalings
from goldilocks.softmax.statistics import (
    effective_number,
    entries_holding_half,
    entropy,
    gradient_norm,
    jacobian_norm,
    log_softmax,
    of_even,
    share_below,
    softmax,
    trace,
)
from goldilocks.softmax.temperature import reduced_chi_square, sampled_counts, tempered
from goldilocks.stats import intervals

MATRIX = files.DATA / "matrices" / "experiment-3.safetensors"
OUTPUT = files.DATA / "softmax.parquet"

SCALINGS = ("unscaled", "scaled")
"""Those that are compared."""

Statistics = dict[str, Callable[[np.ndarray], np.ndarray]]

STATISTICS: Statistics = {
    "entropy": entropy,
    "share_of_maximal_entropy": lambda log_p: entropy(log_p) / np.log(log_p.shape[-1]),
    "largest_probability": lambda log_p: np.exp(log_p.max(-1)),
    "effective_number_of_entries": lambda log_p: effective_number(entropy(log_p)),
    "effective_share_of_entries": lambda log_p: effective_number(entropy(log_p)) / log_p.shape[-1],
    "share_of_entries_holding_half": lambda log_p: entries_holding_half(np.exp(log_p)) / log_p.shape[-1],
    "jacobian_norm": lambda log_p: jacobian_norm(np.exp(log_p)),
    "relative_gradient": of_even(gradient_norm),
    "relative_trace": of_even(trace),
    "relative_jacobian": of_even(jacobian_norm),
}
"""Statistics of a distribution given as log-probabilities (..., n); each returns (...,)."""


def with_shares(negligible: float) -> Statistics:
    """`STATISTICS`, and the shares of probabilities that are negligible, by this threshold and by two others."""
    return STATISTICS | {
        "share_of_negligible_probabilities": share_below(negligible),
        "share_below_a_hundredth_of_it": share_below(negligible / 100),
        "share_below_its_hundredfold": share_below(negligible * 100),
    }


def over(log_p: np.ndarray, what: str) -> np.ndarray:
    """View log-probabilities (..., rows, columns) as distributions: the rows, or one of all entries."""
    return log_p if what == "rows" else log_p.reshape(*log_p.shape[:-2], 1, -1)


OVER_ALL = "jacobian_norm_over_all"


def trial_statistics(
    root_seed: int, rows: int, d: int, trials: int, chosen: Statistics
) -> dict[str, dict[str, np.ndarray]]:
    """Row statistics, averaged over the rows, of fresh draws: {scaling: {statistic: (trials,)}}.

    `OVER_ALL` is the norm of the Jacobian of softmax over all entries at once.
    """
    result = {scaling: {name: np.empty(trials) for name in (*chosen, OVER_ALL)} for scaling in SCALINGS}
    for trial in range(trials):
        q, k = rng.generator(root_seed, "softmax/trial", trial).standard_normal((2, rows, d))
        logits = q @ k.T
        for scaling in SCALINGS:
            scaled = scalings.factor(scaling, d) * logits
            log_p = log_softmax(scaled)
            for name, statistic in chosen.items():
                result[scaling][name][trial] = statistic(log_p).mean()
            result[scaling][OVER_ALL][trial] = jacobian_norm(softmax(over(scaled, "all"))).mean()
    return result


def main() -> None:
    cli.no_arguments(__doc__, "stages.softmax")
    settings, run = params.load("softmax", Settings, Run)
    pair = arrays.read(MATRIX)
    k, q = (pair[name] for name in sorted(pair))
    rows, d = q.shape
    logits = q @ k.T

    statistics = with_shares(settings.negligible)
    found = {
        (scaling, what): log_softmax(over(scalings.factor(scaling, d) * logits, what))
        for scaling, what in product(SCALINGS, ("rows", "all"))
    }
    metrics: dict[str, dict[str, dict[str, float]]] = {scaling: {} for scaling in SCALINGS}
    for (scaling, what), log_p in found.items():
        metrics[scaling][what] = {name: float(f(log_p).mean()) for name, f in statistics.items()}
    row, column = (np.tile(index.ravel(), len(found)) for index in np.indices(logits.shape))
    columns = {
        "scaling": np.repeat([scaling for scaling, _ in found], logits.size),
        "over": np.repeat([what for _, what in found], logits.size),
        "row": row,
        "column": column,
        "logit": np.concatenate([scalings.factor(scaling, d) * logits.ravel() for scaling, _ in found]),
        "probability": np.concatenate([np.exp(log_p).ravel() for log_p in found.values()]),
        "surprisal": np.concatenate([-log_p.ravel() for log_p in found.values()]),
    }
    tables.write(OUTPUT, "softmax", columns, {"softmax": settings.model_dump(), "run": run.model_dump()})

    trials = trial_statistics(run.root_seed, rows, d, settings.trials, statistics)
    drawn: dict[str, Any] = {
        scaling: {name: intervals.mean_interval(values).as_metrics() for name, values in of.items()}
        for scaling, of in trials.items()
    }
    drawn |= {
        name: intervals.mean_interval(trials["unscaled"][norm] / trials["scaled"][norm]).as_metrics()
        for name, norm in (("jacobian_norm_ratio", "jacobian_norm"), ("jacobian_norm_ratio_over_all", OVER_ALL))
    }
    temperature = float(np.sqrt(d))
    scaled, unscaled = softmax(logits / temperature), softmax(logits)
    counts = sampled_counts(logits, temperature, settings.samples, run.root_seed)
    chi_square, degrees = reduced_chi_square(counts, scaled)
    files.write_metrics(
        "softmax",
        metrics
        | {
            "fresh_draws": drawn,
            "temperature": {
                "largest_difference_from_power": np.abs(tempered(log_softmax(logits), temperature) - scaled).max(),
                "reduced_chi_square": chi_square,
                "degrees_of_freedom": degrees,
                "reduced_chi_square_at_temperature_1": reduced_chi_square(counts, unscaled)[0],
            },
        },
    )
    largest = {"_".join(names): np.sort(np.exp(log_p), axis=None)[::-1][:100] for names, log_p in found.items()}
    files.write_plot("softmax", {"rank": np.arange(1, min(100, logits.size) + 1)} | largest)


if __name__ == "__main__":
    cli.run(main)
