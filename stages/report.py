"""The page with all results: the question, the answer, figures and interactive charts, the claims, the parameters.

Reads:  data/inputs/provenance.json, data/claims.json, tables and one seed's snapshots in data/, reports/figures/,
        reports/metrics/, reports/ablations/, params.yaml (all of it, since the page shows it) and requirements.lock
Writes: reports/index.html, self-contained

example: python -m stages.report data/model5/seed-0
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from goldilocks import page
from goldilocks.ablations.conditions import CONDITIONS, MAIN
from goldilocks.checkpoints.reference import GPT2, of_gpt2
from goldilocks.config.report import Run, Settings
from goldilocks.core import cli, files, params, tables
from goldilocks.page import drawing, typeset
from goldilocks.page.charts import base, layernorm, qkv, scaling

OUTPUT = Path("reports/index.html")
REPORTS = Path("reports")
LOCK = Path("requirements.lock")
PAGE = Path(page.__file__).parent
METRICS = ("sweep", "softmax", "goldilocks", "formats", "layernorm", "dynamics", "logits", "tokens", "claims")
CONTROL = re.compile(r"[\0-\b\v-\x1f\x7f-\x9f]")  # characters that HTML forbids
SHOWN_PACKAGES = ("dvc", "matplotlib", "numpy", "pandas", "pyarrow", "tokenizers", "torch", "transformers")
UNMEASURED = "not measured here"
ABOUT_GPT2 = ("S10", "S11", "S12")


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


def data_uri(folder: str, name: str) -> Markup:
    """A figure of `reports/` as a data URI, for an attribute in double quotes."""
    svg = (REPORTS / folder / f"{name}.svg").read_text("utf-8")
    svg = re.sub(r"""="([^"']*)\"""", r"='\1'", svg)  # a double quote takes three letters
    quoted = re.sub(r"""[^\w !$()*+,\-./:;=?@\[\]^`{|}~\n<>']""", lambda one: quote(one[0]), svg, flags=re.ASCII)
    return Markup("data:image/svg+xml," + quoted)  # noqa: S704  without double quotes and ampersands


def shown(claim: Mapping[str, Any]) -> dict[str, str]:
    """A claim's verdict as the page words it, and the kind that colours it: the kept run's where this one has none."""
    verdict, kept, where = claim["verdict"], claim["kept"]["verdict"], ""
    if verdict == UNMEASURED != kept:
        verdict, where = kept, " for GPT-2 small (kept run)" if claim["id"] in ABOUT_GPT2 else " in the kept run"
    return {"kind": verdict.replace(" ", "-"), "text": verdict + where}


def unjudged(claim: Mapping[str, Any]) -> str:
    """Why a claim that was measured could not be judged; empty if it could."""
    shut = [
        f"{each['subject']} is {typeset.estimate(each)} (needed: {typeset.typeset(each['needed'])})"
        for each in claim["gate"]
        if each["outcome"] != "met"
    ]
    return f"The model is not shown to have learned to attend: {' and '.join(shut)}." if shut else ""


def steepest(dynamics: pd.DataFrame) -> dict[str, Any] | None:
    """Between which evenly spaced snapshots σ grows most, and what one update did at the first of them.

    Args:
        dynamics: the table.

    Returns:
        None if there are fewer than three of these snapshots.
    """
    by_step = dynamics.groupby(["quantity", "step"], observed=True)["mean"]
    std, update, entropy = by_step.mean()["std"], by_step.mean()["update_ratio"], by_step.min()["normalised_entropy"]
    steps = [step for step in std.index if step % (std.index[-1] - std.index[-2]) == 0] if len(std) > 1 else []
    if len(steps) < 3:
        return None
    earlier, before, after = max(zip(steps, steps[1:], steps[2:], strict=False), key=lambda of: std[of[2]] / std[of[1]])
    moved, moved_earlier = float(update.get(before, 0.0)), float(update.get(earlier, math.inf))
    return {
        "earlier": earlier, "before": before, "after": after, "growth": std[after] / std[before] - 1,
        "moved": moved if moved > 3 * moved_earlier else None, "moved_earlier": moved_earlier,
        "entropy_earlier": entropy.get(earlier, math.nan), "entropy_after": entropy.get(after, math.nan),
    }  # fmt: skip


def printable(value: Any) -> Any:
    """A value without the control characters in it, which HTML forbids; an untrained model writes many."""
    return CONTROL.sub("\ufffd", value) if type(value) is str else value


def environment() -> Environment:
    """The page's templates, which escape all values."""
    found = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, finalize=printable, undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip
    filters = typeset.number, typeset.percent, typeset.percents, typeset.estimate, typeset.typeset, typeset.capital
    found.filters |= {each.__name__: each for each in filters}
    found.globals["data_uri"] = data_uri
    return found


def render(**content: Any) -> str:
    """Render the page."""
    return environment().get_template("page.html.j2", globals=content).render()


def contents(settings: Settings, root_seed: int, run: Path) -> dict[str, Any]:
    """Everything the page shows, by its name in the templates.

    Args:
        run: the training whose snapshots and text samples are shown.
    """

    def table(name: str) -> pd.DataFrame:
        return tables.read(files.DATA / f"{name}.parquet", name)

    parameters = params.read()
    rows = parameters["matrices"]["rows"]
    judged = files.read_json(files.DATA / "claims.json")
    claims = [claim | {"shown": shown(claim), "why": unjudged(claim)} for claim in judged["claims"]]
    metrics = {name: files.read_metrics(name) for name in METRICS}
    trained = tables.parameters(run / "histograms.parquet")
    train = trained["train"]
    mapped = tables.parameters(files.DATA / "goldilocks.parquet")["goldilocks"]
    named = tables.parameters(files.DATA / "layernorm.parquet")["layernorm"]
    lengths = sorted(mapped["lengths"])
    middle = lengths[len(lengths) // 2]
    zones = table("goldilocks_zone")
    explorers = (
        scaling.one_query(root_seed, metrics["sweep"]["one_pair"]["dimension"], rows),
        scaling.zone_map(table("goldilocks"), mapped),
        layernorm.by_block(table("layernorm"), named["gamma_from"], named["gamma_to"]),
        qkv.histograms(run, train["histogram_limit"], train["heads"]),
    )
    css = (PAGE / "style.css").read_text("utf-8")
    for theme in ("light", "dark"):
        css = css.replace(f"/* {theme} colours */", base.css_colours(theme == "dark"))
    return {
        "title": settings.title,
        "style": css,
        "script": (PAGE / "explore.js").read_text("utf-8"),
        "address": lambda path: f"{settings.repository or '..'}/{path}",
        "drawing": drawing,
        "zones": zones[(zones["length"] == middle) & (zones["correlation"] == zones["correlation"].min())],
        "provenance": files.read_json(files.DATA / "inputs" / "provenance.json"),
        "claims": claims,
        "by_id": {claim["id"]: claim for claim in claims},
        "family": judged["family"],
        "metrics": metrics,
        "rows": rows,
        "middle": f"length_{middle}",
        "lowest": next(iter(metrics["goldilocks"]["by_root_d_outside_from_dimension"])),
        "mapped": mapped,
        "named": named,
        "of_gpt2": of_gpt2,
        "larger": list(GPT2)[1:],
        "jump": steepest(table("dynamics")),
        "ablations": files.read_json(files.ABLATIONS / "metrics.json"),
        "labels": {name: condition.label for name, condition in CONDITIONS.items()},
        "main": list(MAIN),
        "explorers": {each.name: each for each in explorers},
        "packed": lambda of: Markup(base.packed(of)),  # noqa: S704  which escapes what it holds
        "trained": trained,
        "samples": files.read_json(run / "samples.json"),
        "parameters": flatten(parameters),
        "versions": pinned_versions(LOCK.read_text("utf-8")),
    }


def main() -> None:
    parser = cli.parser(__doc__, "stages.report")
    parser.add_argument("model5", type=Path, help="the run of Model 5 whose snapshots and text samples are shown")
    run = parser.parse_args().model5
    settings, shared = params.load("report", Settings, Run)
    files.write_text(OUTPUT, render(**contents(settings, shared.root_seed, run)))


if __name__ == "__main__":
    cli.run(main)
