"""How does σ(QKᵀ) grow with the dimension? (claims S1-S4)

Source: experiments 1 and 2 of the article on numerical scaling. The article looks at one realisation for each n. This
stage does so with the saved matrices, and a Monte Carlo shows how far one realisation may stray.

Reads:  data/matrices/
Writes: data/sweep.parquet, reports/metrics/sweep.json, reports/plots/sweep.csv

example: python -m stages.sweep
"""

from __future__ import annotations

import numpy as np

from goldilocks.config.run import RootSeed as Run
from goldilocks.config.sweep import Settings
from goldilocks.core import arrays, cli, files, params, system_info, tables
from goldilocks.stats import intervals
from goldilocks.stats.product_moments import (
    largest_ratio_error,
    log_log_slope,
    monte_carlo,
    product_std,
    r_squared,
    sigma_estimate,
)

MATRICES = files.DATA / "matrices"
OUTPUT = files.DATA / "sweep.parquet"


def main() -> None:
    cli.no_arguments(__doc__, "stages.sweep")
    settings, run = params.load("sweep", Settings, Run)
    first = arrays.read(MATRICES / "experiment-1.safetensors")
    saved = arrays.read(MATRICES / "experiment-2.safetensors")
    dimensions = sorted(int(name.removeprefix("Q.")) for name in saved if name.startswith("Q."))
    k, q = (first[name] for name in sorted(first))
    rows, d = q.shape

    moments = monte_carlo(run.root_seed, rows, [*dimensions, d], settings.trials, system_info.cores())
    of_saved = {n: moments[n] for n in dimensions}
    estimates = {n: sigma_estimate(n, moments[n], settings.trials) for n in moments}
    single = np.array([float(product_std(saved[f"Q.{n}"], saved[f"K.{n}"])) for n in dimensions])
    root = np.sqrt(dimensions)
    mean, low, high, _ = np.array([estimates[n] for n in dimensions]).T

    columns = {
        "dimension": dimensions,
        "sqrt_dimension": root,
        "sigma_single": single,
        "sigma_mean": mean,
        "sigma_low": low,
        "sigma_high": high,
        "ratio": mean / root,
        "ratio_low": low / root,
        "ratio_high": high / root,
        "trials": [settings.trials] * len(dimensions),
    }
    tables.write(OUTPUT, "sweep", columns, {"sweep": settings.model_dump(), "run": run.model_dump()})
    at_d = estimates[d]
    entries = {
        name: np.concatenate([array.ravel() for key, array in [*first.items(), *saved.items()] if key[0] == name])
        for name in "QK"
    }
    sigma = float(product_std(q, k))
    files.write_metrics(
        "sweep",
        {
            "one_pair": {
                "dimension": d,
                "sqrt_dimension": np.sqrt(d),
                "sigma_Q": q.std(),
                "sigma_K": k.std(),
                "sigma_QKt": sigma,
                "sigma_QKt_scaled": sigma / np.sqrt(d),
            },
            "all_pairs": {
                "sigma_Q": intervals.std_interval(entries["Q"]).as_metrics(),
                "sigma_K": intervals.std_interval(entries["K"]).as_metrics(),
            },
            "monte_carlo": {
                "sigma_QKt": at_d.as_metrics(),
                "sigma_QKt_scaled": at_d.scaled(1 / np.sqrt(d)).as_metrics(),
                "slope": log_log_slope(of_saved, settings.trials).as_metrics(),
                "mean_ratio": (mean / root).mean(),
                "largest_ratio_error": largest_ratio_error(of_saved, settings.trials),
            },
            "single_draws": {
                "mean_ratio": (single / root).mean(),
                "largest_ratio_error": np.abs(single / root - 1).max(),
                "r_squared": r_squared(single, root),
            },
        },
    )
    files.write_plot("sweep", {"dimension": dimensions, "sigma": single, "theory": root, "mean": mean})


if __name__ == "__main__":
    cli.run(main)
