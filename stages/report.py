"""The page with all results: the question, the answer, figures and interactive charts, the claims, the parameters.

Reads:  data/inputs/provenance.json, data/claims.json, tables and one seed's snapshots in data/, reports/figures/,
        reports/metrics/, reports/ablations/, the kept run's norms in reports/paper/tables/layernorm.parquet,
        params.yaml (all of it, since the page shows it) and requirements.lock
Writes: reports/index.html, self-contained

example: python -m stages.report data/model5/seed-0
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from goldilocks import page
from goldilocks.ablations.conditions import CONDITIONS, MAIN
from goldilocks.config.report import Run, Settings
from goldilocks.core import cli, files, params, tables
from goldilocks.page import vega
from goldilocks.page.charts import base, layernorm, qkv, scaling

OUTPUT = Path("reports/index.html")
REPORTS = Path("reports")
LOCK = Path("requirements.lock")
PAGE = Path(page.__file__).parent
METRICS = ("sweep", "softmax", "goldilocks", "layernorm", "dynamics", "logits", "tokens")
CONTROL = re.compile(r"[\0-\b\v-\x1f\x7f-\x9f]")  # characters that HTML forbids
SHOWN_PACKAGES = ("dvc", "matplotlib", "numpy", "pandas", "pyarrow", "tokenizers", "torch", "transformers")
SOURCES = {
    "embedded": "the prose in an installed package and a tokenizer trained on it",
    "hub": "the articles' own, from their hubs",
}
HEADINGS = {
    "growth": "Products of random matrices grow",
    "saturation": "Softmax saturates",
    "scaling": "1/√d brings it back",
    "map": "The Goldilocks map",
    "layernorms": "What LayerNorms learned",
    "weights": "How Model 5's weights move",
    "downstream": "Does it matter downstream?",
    "not-reproduced": "What did not reproduce, or is open",
    "claims": "Every claim",
    "parameters": "Parameters",
}


def flatten(parameters: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested parameters as pairs of dotted key and value, in the order of the file."""
    rows: list[tuple[str, Any]] = []
    for key, value in parameters.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        rows += flatten(value, path) if isinstance(value, dict) else [(path, value)]
    return rows


def pinned_versions(lock: str) -> list[tuple[str, str]]:
    """Name and pinned version of each package that matters for the numbers, from a lock file."""
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", lock, re.MULTILINE))
    return [(name, pinned[name]) for name in SHOWN_PACKAGES if name in pinned]


def data_uri(folder: str, name: str) -> str:
    """A figure of `reports/` as a data URI."""
    svg = (REPORTS / folder / f"{name}.svg").read_text("utf-8")
    return "data:image/svg+xml," + quote(svg, safe=" !$()*+,-./:;=?@[]^_`{|}~\n")  # shorter than base64


def format_estimate(entry: Mapping[str, Any]) -> str:
    """An estimate with its interval, as text."""
    if entry["value"] is None:
        return ""
    if entry["low"] is None or entry["low"] == entry["high"]:
        return f"{entry['value']:.4g}"
    return f"{entry['value']:.4g} [{entry['low']:.4g}, {entry['high']:.4g}]"


def printable(value: Any) -> Any:
    """A value without the control characters in it, which HTML forbids; an untrained model writes many."""
    return CONTROL.sub("\ufffd", value) if type(value) is str else value


def render(**content: Any) -> str:
    """Render the page from its template; all values are escaped."""
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.globals.update(content, data_uri=data_uri, format_estimate=format_estimate, vega=vega)
    return environment.get_template("page.html.j2").render()


def explorers(root_seed: int, run: Path, mapped: Mapping[str, Any]) -> dict[str, base.Explorer]:
    """The interactive charts by name: those whose point is a slider, the map, or a choice of model.

    Args:
        run: the training whose snapshots are shown.
        mapped: what the map was made with, the section `goldilocks`.
    """
    cells = tables.read(files.DATA / "goldilocks.parquet", "goldilocks")
    norms = tables.read(files.DATA / "layernorm.parquet", "layernorm")
    trained_with = tables.parameters(run / "histograms.parquet")["train"]
    found = (
        scaling.one_query(root_seed),
        scaling.zone_map(cells, mapped),
        layernorm.by_block(norms, pd.read_parquet(files.KEPT / "tables" / "layernorm.parquet")),
        qkv.histograms(run, trained_with["histogram_limit"], trained_with["heads"]),
    )
    return {each.name: each for each in found}


def contents(settings: Settings, shared: Run, run: Path) -> dict[str, Any]:
    """Everything the page shows, by its name in the templates.

    Args:
        run: the training whose snapshots and text samples are shown.
    """
    judged = files.read_json(files.DATA / "claims.json")
    provenance = files.read_json(files.DATA / "inputs" / "provenance.json")
    ablations = files.read_json(files.ABLATIONS / "metrics.json")
    metrics = {name: files.read_metrics(name) for name in METRICS}
    made_with = tables.parameters(run / "histograms.parquet")
    mapped = tables.parameters(files.DATA / "goldilocks.parquet")["goldilocks"]
    lengths = sorted(mapped["lengths"])
    return {
        "title": settings.title,
        "style": (PAGE / "style.css").read_text("utf-8"),
        "script": (PAGE / "explore.js").read_text("utf-8"),
        "headings": HEADINGS,
        "provenance": provenance,
        "source_in_words": SOURCES.get(provenance["source"], "those of a folder"),
        "claims": judged["claims"],
        "by_id": {claim["id"]: claim for claim in judged["claims"]},
        "family": judged["family"],
        "counts": files.read_metrics("claims")["count"],
        "beyond_control": files.read_metrics("claims")["beyond_control"],
        "metrics": metrics,
        "middle": f"length_{lengths[len(lengths) // 2]}",
        "lowest": next(iter(metrics["goldilocks"]["by_root_d_outside_from_dimension"])),
        "widest_dimension": mapped["widest"],
        "ablations": ablations,
        "labels": {name: condition.label for name, condition in CONDITIONS.items()},
        "main": list(MAIN),
        "explorers": explorers(shared.root_seed, run, mapped),
        "packed": lambda of: Markup(base.packed(of)),  # noqa: S704  which escapes what it holds
        "start": made_with["train"]["linear_std"],
        "seed": made_with["seed"],
        "samples": files.read_json(run / "samples.json"),
        "parameters": flatten(params.read()),
        "versions": pinned_versions(LOCK.read_text("utf-8")),
    }


def main() -> None:
    parser = cli.parser(__doc__, "stages.report")
    parser.add_argument("model5", type=Path, help="the run of Model 5 whose snapshots and text samples are shown")
    run = parser.parse_args().model5
    settings, shared = params.load("report", Settings, Run)
    with ProcessPoolExecutor(1) as executor:  # it takes as long as everything else
        runtime = executor.submit(vega.runtime)
        found = contents(settings, shared, run)
        files.write_text(OUTPUT, render(runtime=runtime.result(), **found))


if __name__ == "__main__":
    cli.run(main)
