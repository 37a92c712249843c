"""Draw every figure of the report, as SVG.

Reads:  data/ of the stages shown, reports/metrics/formats.json and softmax.json; of Model 5's histograms and heads, one
        seed's (the articles show one run)
Writes: reports/figures/*.svg

example: python -m stages.figures data/model5/seed-0
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from goldilocks.config.figures import Run, Settings
from goldilocks.core import arrays, cli, files, params, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OUTPUT = Path("reports/figures")


def drawings(shown: Path) -> dict[str, Callable[[], Figure]]:
    """A function that draws each figure, by name; `shown` is the run of Model 5 with its histograms and heads."""
    from goldilocks.checkpoints.reference import FIGURES, GPT2
    from goldilocks.plotting import formats, goldilocks, model5, norms, scaling
    from goldilocks.plotting.palette import GPT2_SIZES

    def table(name: str, folder: Path = files.DATA) -> pd.DataFrame:
        return tables.read(folder / f"{name}.parquet", name)

    pair = arrays.read(files.DATA / "matrices" / "experiment-1.safetensors")
    k, q = (pair[name] for name in sorted(pair))
    sweep, layernorm, softmax, by_format = map(table, ("sweep", "layernorm", "softmax", "formats"))
    scales, zone, dynamics, by_scaling = map(table, ("goldilocks", "goldilocks_zone", "dynamics", "logits"))
    named = tables.parameters(files.DATA / "layernorm.parquet")["layernorm"]
    zone_of = tables.parameters(files.DATA / "goldilocks_zone.parquet")["goldilocks"]
    least = zone_of["least_gradient"], zone_of["least_discrimination"]
    first = files.read_metrics("formats")
    ratio = files.read_metrics("softmax")["fresh_draws"]["jacobian_norm_ratio"]["value"]
    references = {GPT2_SIZES[model]: dict(zip(FIGURES, of["gamma"], strict=True)) for model, of in GPT2.items()}
    attention = table("attention", shown).query("scaling == 'scaled'")
    vocabulary = files.read_json(files.DATA / "tokens" / "description.json")["vocabulary"]
    linear_std = tables.parameters(shown / "histograms.parquet")["train"]["linear_std"]
    return {
        "one_pair": lambda: scaling.one_pair(q, k),
        "sweep": lambda: scaling.sweep(sweep),
        "sweep_ratio": lambda: scaling.sweep_ratio(sweep),
        "softmax": lambda: scaling.softmax(softmax),
        "goldilocks_map": lambda: goldilocks.heat_maps(scales, zone),
        "goldilocks_zone": lambda: goldilocks.zones(zone, *least),
        "two_needs": lambda: goldilocks.two_needs(scales, *least),
        "jacobians": lambda: goldilocks.jacobians(scales, q.shape[1], ratio),
        "formats": lambda: formats.formats(by_format),
        "first_failures": lambda: formats.first_failures(by_format, first),
        "layernorm_histograms": lambda: norms.histograms(layernorm),
        "layernorm_by_block": lambda: norms.by_block(layernorm),
        "layernorm_by_model": lambda: norms.by_model(layernorm, named["gamma_from"], named["gamma_to"], references),
        "losses": lambda: model5.losses(dynamics, float(np.log(vocabulary))),
        "std_by_part": lambda: model5.std_by_part(dynamics),
        **{name: partial(model5.by_block, dynamics, *what) for name, what in model5.BY_BLOCK.items()},
        "entropy_by_head": lambda: model5.by_head(attention, "normalised_entropy", "entropy / max", lowest=True),
        "logits_by_head": lambda: model5.by_head(attention, "largest_logit", "largest |logit|", lowest=False),
        "logits_by_scaling": lambda: model5.logits_by_scaling(by_scaling),
        "logit_distribution": lambda: model5.logit_distribution(table("logit_histograms", shown)),
        "qkv_histograms": lambda: model5.histograms(table("histograms", shown), linear_std),
    }


def main() -> None:
    parser = cli.parser(__doc__, "stages.figures")
    parser.add_argument("model5", type=Path, help="the run of Model 5 whose histograms and heads are shown")
    shown = parser.parse_args().model5
    settings, _ = params.load("figures", Settings, Run)

    from goldilocks.plotting import batch, style

    gc.disable()  # saves a sixth of the time, for 40 MB more
    with style.applied(settings.width), files.atomic_directory(OUTPUT) as folder:
        batch.draw_all(drawings(shown), folder, settings.dpi)


if __name__ == "__main__":
    cli.run(main)
