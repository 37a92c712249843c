"""Summarise the ablations: metrics and figures for the claims and the report. (S8, S13-S15, W5-W8)

The last stage of the ablations' pipeline. The claims and the report use what it wrote, which is in git, so `make repro`
never trains an ablation.

Reads:  ablations/runs/<condition>/seed-<s>.parquet and ablations/control/seed-<s>.parquet for the conditions and seeds
        of `ablations:`
Writes: reports/ablations/metrics.json and reports/ablations/*.svg, and the hashes of these

example: python -m stages.summarize_ablations
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from goldilocks.ablations import runs
from goldilocks.ablations.summary import summary
from goldilocks.claims import growth
from goldilocks.config import claims, goldilocks
from goldilocks.config.ablations import Settings
from goldilocks.core import checksums, cli, files, params, tables
from goldilocks.core.params import Section as Run

WIDTH, DPI = 7.0, 150  # of figures, in inches and dots per inch; constants, so that `make repro` need not draw them
Key = TypeVar("Key")


def read_runs(
    table: str, paths: Mapping[Key, Path], names: list[str], shared: tuple[str, ...]
) -> tuple[pd.DataFrame, dict[Key, dict[str, Any]]]:
    """Every run in one table, with columns for the names that its key has, and the parameters of each.

    Args:
        shared: parameters that must be the same for all of them.

    Raises:
        UserError: if a run is missing, or was made with other parameters than the first.
    """
    if missing := [path for path in paths.values() if not path.is_file()]:
        raise cli.UserError(f"{missing[0]}: no such file ({len(missing)} of {len(paths)} runs); run make ablations")
    made_by = {key: tables.parameters(path) for key, path in paths.items()}
    first, *others = made_by
    for key in others:
        if any(made_by[key][part] != made_by[first][part] for part in shared):
            raise cli.UserError(f"{paths[key]}: made with other parameters than {paths[first]}; run make ablations")
    frames = {key: tables.read(path, table) for key, path in paths.items()}
    return pd.concat(frames, names=names).reset_index(names).reset_index(drop=True), made_by


def gather(settings: Settings) -> tuple[pd.DataFrame, dict[str, float], dict[str, Any]]:
    """Every run with columns `condition` and `seed`; the rate of each condition; and what all share."""
    paths = {(c, s): runs.RUNS / c / f"seed-{s}.parquet" for c in settings.conditions for s in settings.seeds}
    frame, made_by = read_runs("ablation", paths, ["condition", "seed"], ("ablate", "run"))
    rates = {condition: of["learning_rate"] for (condition, _), of in made_by.items()}
    first = next(iter(made_by.values()))
    return frame, rates, {part: first[part] for part in ("ablate", "run")}


def control(seeds: list[int]) -> dict[str, Any]:
    """How weights moved on shuffled tokens, by seed and over seeds, and what these trainings were made with."""
    paths = {seed: runs.CONTROL / f"seed-{seed}.parquet" for seed in seeds}
    weights, made_by = read_runs("weights", paths, ["seed"], ("train", "run"))
    values, last = growth.tidy(weights), int(weights["step"].max())
    statistics = growth.seed_statistics(values, last)
    return growth.metrics(growth.relative(values, "std", last), statistics) | {
        "by_seed": growth.by_name(statistics),
        "made_with": made_by[seeds[0]]["train"] | made_by[seeds[0]]["run"] | {"tokens": files.read_metrics("tokens")},
    }


def main() -> None:
    cli.no_arguments(__doc__, "stages.summarize_ablations")
    settings, _ = params.load("ablations", Settings, Run)
    margins, _ = params.load("claims", claims.Settings, Run)
    zone, _ = params.load("goldilocks", goldilocks.Settings, Run)
    frame, rates, made_with = gather(settings)

    from goldilocks.plotting import batch, style
    from goldilocks.plotting.ablations import figures

    metrics = summary(frame, rates, made_with["ablate"]["rates"], margins, zone)
    metrics |= {"control": control(settings.seeds), "made_with": made_with | {"seeds": len(settings.seeds)}}
    with style.applied(WIDTH), files.atomic_directory(files.ABLATIONS) as folder:
        files.write_json(folder / "metrics.json", files.rounded(metrics))
        batch.draw_all(figures(frame, metrics), folder, DPI)
        checksums.seal(folder)


if __name__ == "__main__":
    cli.run(main)
