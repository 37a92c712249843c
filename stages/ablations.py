"""What do the ablations say together? Their summary and figures, for the claims and the report. (claims S13-S15)

A command, not a stage: `make ablations` ends with it. So the claims and the report can use the committed results, and
`make repro` never trains an ablation.

Reads:  ablations/runs/<condition>/seed-<s>.parquet for the conditions and seeds of `ablations:`
Writes: reports/ablations/metrics.json and reports/ablations/*.svg, and the hashes of these

example: python -m stages.ablations
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from stages.ablate import OUTPUT as RUNS
from stages.common import cli, files, params, sealed, tables
from stages.config.ablations import Run, Settings

WIDTH, DPI = 7.0, 150  # of figures, in inches and dots per inch: `make repro` must not have to draw them anew


def gather(settings: Settings) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Every run in one table, with columns `condition` and `seed`, and the parameters that all were made with.

    Raises:
        UserError: if runs are missing, or were not all made with the same parameters.
    """
    paths = {(c, s): RUNS / c / f"seed-{s}.parquet" for c in settings.conditions for s in settings.seeds}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise cli.UserError(f"{missing[0]}: no such file ({len(missing)} of {len(paths)} runs); run make ablations")
    made_by = {path: tables.parameters(path) for path in paths.values()}
    shared = {path: {key: of[key] for key in ("ablate", "run")} for path, of in made_by.items()}
    first, *others = shared.items()
    for path, found in others:
        if found != first[1]:
            raise cli.UserError(f"{path}: made with other parameters than {first[0]}; run make ablations")
    runs = [tables.read(path, "ablation").assign(condition=c, seed=s) for (c, s), path in paths.items()]
    return pd.concat(runs, ignore_index=True), first[1]


def main() -> None:
    cli.no_arguments(__doc__, "stages.ablations")
    settings, _ = params.load("ablations", Settings, Run)
    runs, made_with = gather(settings)

    from stages.ablation.figures import figures
    from stages.ablation.summary import summary
    from stages.drawing import style

    found = summary(runs) | {"made_with": made_with | {"seeds": len(settings.seeds)}}
    with style.applied(), files.atomic_directory(files.ABLATIONS) as folder:
        files.write_json(folder / "metrics.json", files.rounded(found))
        style.draw_all(figures(runs, found, WIDTH), folder, DPI)
        sealed.seal(folder)


if __name__ == "__main__":
    cli.run(main)
