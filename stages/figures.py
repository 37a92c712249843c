"""Draw every figure of the report, as SVG.

Reads:  data/ of the stages shown, reports/metrics/formats.json and softmax.json; of Model 5's histograms and heads, one
        seed's (the articles show one run)
Writes: reports/figures/*.svg

example: python -m stages.figures data/model5/seed-0
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from goldilocks.config.figures import Run, Settings
from goldilocks.core import arrays, cli, files, params, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUT = Path("reports/figures")


def drawings(shown: Path, width: float) -> dict[str, Callable[[], Figure]]:
    """A function that draws each figure, by name.

    Args:
        shown: the run of Model 5 whose histograms and heads are shown.
        width: in inches.
    """
    from goldilocks.checkpoints.reference import FIGURES, GPT2
    from goldilocks.plotting import formats, goldilocks, logits, model5, norms, scaling
    from goldilocks.plotting.labels import GPT2_SIZES

    pair = arrays.read(files.DATA / "matrices" / "experiment-1.safetensors")
    k, q = (pair[name] for name in sorted(pair))
    sweep = tables.read(files.DATA / "sweep.parquet", "sweep")
    layernorm = tables.read(files.DATA / "layernorm.parquet", "layernorm")
    named = tables.parameters(files.DATA / "layernorm.parquet")["layernorm"]
    softmax = tables.read(files.DATA / "softmax.parquet", "softmax")
    scales = tables.read(files.DATA / "goldilocks.parquet", "goldilocks")
    zone = tables.read(files.DATA / "goldilocks_zone.parquet", "goldilocks_zone")
    least = tables.parameters(files.DATA / "goldilocks_zone.parquet")["goldilocks"]
    by_format = tables.read(files.DATA / "formats.parquet", "formats")
    first = files.read_metrics("formats")
    ratio = files.read_metrics("softmax")["fresh_draws"]["jacobian_norm_ratio"]["value"]
    references = {GPT2_SIZES[model]: dict(zip(FIGURES, of["gamma"], strict=True)) for model, of in GPT2.items()}
    dynamics = tables.read(files.DATA / "dynamics.parquet", "dynamics")
    by_scaling = tables.read(files.DATA / "logits.parquet", "logits")
    attention = tables.read(shown / "attention.parquet", "attention").query("scaling == 'scaled'")
    vocabulary = files.read_json(files.DATA / "tokens" / "description.json")["vocabulary"]
    linear_std = tables.parameters(shown / "histograms.parquet")["train"]["linear_std"]
    return {
        "one_pair": lambda: scaling.one_pair(q, k, width),
        "sweep": lambda: scaling.sweep(sweep, width),
        "sweep_ratio": lambda: scaling.sweep_ratio(sweep, width),
        "softmax": lambda: scaling.softmax(softmax, width),
        "goldilocks_map": lambda: goldilocks.heat_maps(scales, zone, width),
        "goldilocks_zone": lambda: goldilocks.zones(
            zone, width, least["least_gradient"], least["least_discrimination"]
        ),
        "two_needs": lambda: goldilocks.two_needs(
            scales, width, least["least_gradient"], least["least_discrimination"]
        ),
        "jacobians": lambda: goldilocks.jacobians(scales, q.shape[1], ratio, width),
        "formats": lambda: formats.formats(by_format, width),
        "first_failures": lambda: formats.first_failures(by_format, first, width),
        "layernorm_histograms": lambda: norms.histograms(layernorm, width),
        "layernorm_by_block": lambda: norms.by_block(layernorm, width),
        "layernorm_by_model": lambda: norms.by_model(
            layernorm, width, named["gamma_from"], named["gamma_to"], references
        ),
        "losses": lambda: model5.losses(dynamics, float(np.log(vocabulary)), width),
        "std_by_block": lambda: model5.by_block(
            dynamics, {"std": "σ of the QKV weights"}, "σ of the QKV weights", width
        ),
        "std_by_part": lambda: model5.std_by_part(dynamics, width),
        "kurtosis_by_block": lambda: model5.by_block(
            dynamics, {"excess_kurtosis": "excess kurtosis"}, "Excess kurtosis of the QKV weights", width
        ),
        "norms_by_block": lambda: model5.by_block(
            dynamics,
            {"spectral_norm": "spectral norm ‖W‖₂", "stable_rank": "stable rank ‖W‖²/‖W‖₂²"},
            "Spectral norm of the QKV weights",
            width,
            early=True,
        ),
        "cosine_to_initial": lambda: model5.by_block(
            dynamics,
            {"cosine_to_initial": "cosine to initial weights"},
            "Cosine to the initial QKV weights",
            width,
            early=True,
        ),
        "updates_by_block": lambda: model5.by_block(
            dynamics,
            {"update_ratio": "‖update‖ / ‖W‖", "gradient_norm": "gradient norm (nats/token)"},
            "Relative update of the QKV weights",
            width,
            early=True,
            log=True,
        ),
        "attention_entropy": lambda: model5.by_block(
            dynamics,
            {"normalised_entropy": "entropy / its maximum"},
            "Attention entropy",
            width,
            early=True,
        ),
        "entropy_by_head": lambda: model5.by_head(attention, "normalised_entropy", "entropy / max", True, width),
        "logits_by_head": lambda: model5.by_head(attention, "largest_logit", "largest |logit|", False, width),
        "logits_by_scaling": lambda: logits.by_scaling(by_scaling, width),
        "logit_distribution": lambda: logits.distribution(
            tables.read(shown / "logit_histograms.parquet", "logit_histograms"), width
        ),
        "qkv_histograms": lambda: model5.histograms(
            tables.read(shown / "histograms.parquet", "histograms"), linear_std, width
        ),
    }


def main() -> None:
    parser = cli.parser(__doc__, "stages.figures")
    parser.add_argument("model5", type=Path, help="the run of Model 5 whose histograms and heads are shown")
    shown = parser.parse_args().model5
    settings, _ = params.load("figures", Settings, Run)

    from goldilocks.plotting import batch, style

    gc.disable()  # a twentieth of the time, for 40 MB more
    with style.applied(), files.atomic_directory(OUTPUT) as folder:
        batch.draw_all(drawings(shown, settings.width), folder, settings.dpi)


if __name__ == "__main__":
    cli.run(main)
