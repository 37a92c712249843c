"""The page that shows it all: where the inputs came from, the claims, the figures, the parameters, the versions.

Reads:  data/inputs/provenance.json, data/claims.json, reports/figures/, reports/metrics/, reports/ablations/,
        params.yaml (all of it, since the page shows it) and requirements.lock
Writes: reports/index.html, self-contained

example: python -m stages.report data/model5/seed-0
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field, field_validator

from stages.ablation.conditions import CONDITIONS
from stages.common import cli, files, params

OUTPUT = Path("reports/index.html")
FIGURES, ABLATIONS = Path("reports/figures"), Path("reports/ablations")
LOCK = Path("requirements.lock")
TEMPLATE = Path(__file__).with_name("report.html.j2")
METRICS = ("sweep", "softmax", "layernorm", "dynamics", "logits", "tokens")
CONTROL = re.compile(r"[\0-\b\v-\x1f\x7f-\x9f]")  # characters that no HTML may hold
SHOWN_PACKAGES = ("dvc", "matplotlib", "numpy", "pandas", "pyarrow", "tokenizers", "torch", "transformers")


class Settings(params.Section):
    title: str = Field(min_length=1, max_length=200)
    """Title of the page."""

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        if not title.isprintable() or not title.strip():
            raise ValueError("must be one line of printable characters")
        return title


class Run(params.Section):
    """This stage sees nothing of `run:`."""


class Figure(NamedTuple):
    """A figure of the page: its file's name and folder, what it shows, and the claims it bears on."""

    name: str
    caption: str
    claims: tuple[str, ...]
    folder: Path = FIGURES


SECTIONS: tuple[tuple[str, tuple[Figure, ...]], ...] = (
    (
        "Products of random matrices grow",
        (
            Figure("one_pair", "Every entry of Q, K and QKᵀ, as a dot; rows are jittered.", ("S1", "S2")),
            Figure("sweep", "Standard deviation of QKᵀ, one fresh pair for each dimension.", ("S3",)),
            Figure("sweep_ratio", "The same over √n, with the mean of many draws and its interval.", ("S3", "S4")),
        ),
    ),
    (
        "Softmax saturates, and 1/√d brings it back",
        (Figure("softmax", "Softmax of every entry, over rows and over all of them at once.", ("S5", "S6", "S7")),),
    ),
    (
        "The Goldilocks zone",
        (
            Figure(
                "goldilocks_map",
                "What softmax does at every dimension d and logit scale s; ρ is the correlation of the query with the "
                "key at its own position.",
                ("S7", "S8", "S9"),
            ),
            Figure(
                "goldilocks_zone",
                "Where softmax both learns and tells entries apart, by number of keys n and by correlation ρ. "
                "Above 1 and below 1/d nothing was measured.",
                ("S8",),
            ),
        ),
    ),
    (
        "What number formats do to it",
        (
            Figure(
                "first_failures",
                "The first dimension at which softmax in fp32, bf16 and fp16 gives what is no number: with and without "
                "division by √d, naive and less the row's maximum. Neither helps where q·k itself overflows.",
                (),
            ),
            Figure(
                "formats",
                "Failures and errors by dimension, q and k independent. Subtraction keeps results finite, division by "
                "√d keeps them right: without it the worst row's error grows about as √d, though most are one-hot.",
                (),
            ),
        ),
    ),
    (
        "What LayerNorms learned",
        (
            Figure("layernorm_histograms", "γ and β; red bars hold what lies outside the axis.", ("S10", "S11", "S12")),
            Figure("layernorm_by_block", "γ and β by block: median and the 5-95 % range.", ("S12",)),
            Figure(
                "layernorm_by_model", "γ of each checkpoint beside the range that the articles name.", ("S10", "S12")
            ),
        ),
    ),
    (
        "How Model 5's weights move",
        (
            Figure("losses", "Training loss at every step, test loss on fixed windows.", ()),
            Figure("std_by_block", "Standard deviation of the QKV weights.", ("W5", "W7", "W8")),
            Figure("std_by_part", "The same of Q, K and V apart, a panel a block.", ("W5", "W7")),
            Figure("qkv_histograms", "Their histograms, one line a snapshot.", ("W5", "W6")),
            Figure("kurtosis_by_block", "Their excess kurtosis: 0 is a normal distribution.", ("W6",)),
            Figure(
                "norms_by_block",
                "Their largest singular value, and how many directions carry them; the steps are logarithmic from 1.",
                ("W5", "W7", "W8"),
            ),
            Figure("cosine_to_initial", "The cosine between the weights and the initial ones, as vectors.", ("W5",)),
            Figure("updates_by_block", "Size of one update, relative to the weights, and of the gradient.", ("W7",)),
            Figure("attention_entropy", "How evenly the heads attend: 1 is uniform, 0 a single token.", ("W9",)),
            Figure("entropy_by_head", "The same of every head of one run.", ("W9",)),
            Figure("logits_by_head", "The largest logit that softmax sees in every head of one run.", ("W9",)),
            Figure(
                "logits_by_scaling",
                "What softmax makes of the model's own logits when they are not scaled, or divided by d.",
                ("S5", "S6", "W9"),
            ),
            Figure("logit_distribution", "The logits beside the normal distribution that experiment 1 has.", ("S5",)),
        ),
    ),
    (
        "Does it matter downstream?",
        (
            Figure("test_loss", "What each choice of Model 5 is worth in test loss.", (), ABLATIONS),
            Figure("loss_curves", "The same over training.", (), ABLATIONS),
            Figure("entropy_and_loss", "Where softmax starts, and where the loss ends.", ("W9",), ABLATIONS),
            Figure(
                "layernorm", "Gradients and activations with and without LayerNorm.", ("S13", "S14", "S15"), ABLATIONS
            ),
        ),
    ),
)


def flat(parameters: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested parameters as (dotted key, value), in the file's order."""
    rows: list[tuple[str, Any]] = []
    for key, value in parameters.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        rows += flat(value, path) if isinstance(value, dict) else [(path, value)]
    return rows


def versions(lock: str) -> list[tuple[str, str]]:
    """The versions that a lock file pins of the packages that matter for the numbers."""
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", lock, re.MULTILINE))
    return [(name, pinned[name]) for name in SHOWN_PACKAGES if name in pinned]


def data_uri(svg: Path) -> str:
    """An SVG file as a data URI, so that the page needs nothing else."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def interval(entry: Mapping[str, Any]) -> str:
    """An estimate with its interval, as text."""
    if entry["value"] is None:
        return ""
    if entry["low"] is None or entry["low"] == entry["high"]:
        return f"{entry['value']:.4g}"
    return f"{entry['value']:.4g} [{entry['low']:.4g}, {entry['high']:.4g}]"


def shown(value: Any) -> Any:
    """A value as the page shows it: without control characters, which a model's first words are full of."""
    return CONTROL.sub("\ufffd", value) if type(value) is str else value


def render(**content: Any) -> str:
    """The page from its template; everything shown is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        interval=interval, data_uri=lambda figure: data_uri(figure.folder / f"{figure.name}.svg")
    )
    return environment.get_template(TEMPLATE.name).render(**content)


def main() -> None:
    parser = cli.parser(__doc__, "stages.report")
    parser.add_argument("model5", type=Path, help="the run of Model 5 whose text samples are shown")
    shown = parser.parse_args().model5
    settings, _ = params.load("report", Settings, Run)
    judged = files.read_json(files.DATA / "claims.json")
    claims = judged["claims"]
    page = render(
        title=settings.title,
        provenance=files.read_json(files.DATA / "inputs" / "provenance.json"),
        claims=claims,
        verdicts={claim["id"]: claim["verdict"] for claim in claims},
        family=judged["family"],
        counts=files.read_metrics("claims")["count"],
        ablations=files.read_json(ABLATIONS / "metrics.json"),
        labels={name: condition.label for name, condition in CONDITIONS.items()},
        metrics={
            name: files.read_metrics(name) for name in ("sweep", "softmax", "layernorm", "dynamics", "logits", "tokens")
        },
        sections=SECTIONS,
        samples=files.read_json(shown / "samples.json"),
        parameters=flat(params.read()),
        versions=versions(LOCK.read_text("utf-8")),
    )
    files.write_text(OUTPUT, page)


if __name__ == "__main__":
    cli.run(main)
