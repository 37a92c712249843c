"""Which of the articles' claims reproduce? A verdict on each of S1-S15 and W1-W9.

`goldilocks/claims/` declares what each claim estimates, its unit of replication, interval and criterion, all fixed
beforehand. A verdict is `reproduced` if the whole interval meets the criterion, `not reproduced` if none of it does,
`undecided` otherwise, and if the unit is a training and there is only one. It is `depends on the measure` if several
measures of the same statement were declared and decide differently, and `not measured here` if the run did not measure
it, with the reason and, if there is one, a reference figure marked as such.

A kept run at the articles' own size is judged in the same way, from its metrics.

Reads:  reports/metrics/, data/growth.json, reports/ablations/metrics.json, and of the kept run reports/paper/metrics/
Writes: data/claims.json (everything), reports/metrics/claims.json (verdicts and estimates), and
        reports/metrics/headlines.json (the few numbers that `dvc metrics` and `dvc exp show` show)

example: python -m stages.claims
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goldilocks.checkpoints import reference
from goldilocks.claims.criteria import MetricTree
from goldilocks.claims.definitions import CLAIMS
from goldilocks.claims.verdicts import ESTIMATE, VERDICTS, judge_all
from goldilocks.config import train as train_config
from goldilocks.config.claims import Settings
from goldilocks.core import cli, files, params
from goldilocks.core.params import Section as Run
from goldilocks.stats import intervals

OUTPUT = files.DATA / "claims.json"
MOVE = (
    "width", "heads", "blocks", "batch_size", "accumulate", "steps", "learning_rate", "weight_decay", "linear_std",
    "snapshot_every", "tail_sigmas", "precision", "root_seed", "tokens",
)  # fmt: skip
"""Everything that determines how weights move: settings of `train`, the root seed, and properties of the text."""
STAGES = ("sweep", "softmax", "goldilocks", "layernorm", "dynamics", "logits")
GROWTH = files.DATA / "growth.json"
GPT2 = "gpt2"
SHARES = {
    "gamma_in_range": ("gamma", "share_in_range"),
    "gamma_below_1": ("gamma", "share_below_1"),
    "beta_near_zero": ("beta", "share_near_zero"),
}
"""The kind of parameter and the metric of `layernorm` behind each share that claims are about."""
HEADLINES = {
    "claims that reproduce": ("claims.count.reproduced", 1),
    "growth exponent of QK": ("sweep.monte_carlo.slope.value", 1),
    "gradient at root d": ("goldilocks.independent.lowest_gradient_by_root_d.value", 1),
    "widening of QKV in %": ("dynamics.growth_of_std.value", 100),
    "q-k cosine over chance": ("logits.last.scaled.centred_alignment.value", 1),
    "least attention entropy": ("dynamics.lowest_early_attention_entropy.value", 1),
    "last test loss": ("dynamics.last_test_loss.value", 1),
}
"""The headlines: a metric and a factor, by the name of the column in DVC's tables. All fit on a screen."""


def with_shares(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics with shares of LayerNorm parameters: of GPT-2, of other checkpoints, and as reference figures.

    A share is of all finite γ or β of a checkpoint, so it has no sampling error. Where it is not known whether a model
    stores γ less 1, the reason stands in place of the share.
    """
    found: dict[str, dict[str, float | str]] = {share: {} for share in SHARES}
    for model, of in metrics["layernorm"].items():
        for share, (kind, name) in SHARES.items():
            if name in of.get(kind, {}):
                why = of.get("unknown_convention") if kind == "gamma" else None
                found[share][model] = f"γ as stored, since {why}" if why else of[kind][name]
    not_measured = reference.GPT2.keys() - found["gamma_in_range"].keys() - {GPT2}
    references = {model: reference.of_gpt2("share_in_range", "gamma", model) for model in not_measured}
    return metrics | {
        "shares": found,
        "shares_of_others": {share: {m: e for m, e in of.items() if m != GPT2} for share, of in found.items()},
        "references": {"gamma_in_range": references},
    }


def measured(folder: Path) -> dict[str, Any]:
    """The metrics of stages in a folder of reports, by the names of their files."""
    return {path.stem: files.read_json(path) for path in sorted((folder / "metrics").glob("*.json"))}


def as_metrics(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a claim's entry that is written as metrics."""
    names = ("verdict", *ESTIMATE, "survives_bonferroni")
    return {key: entry[key] for key in names if entry.get(key) is not None}


def counted(entries: list[dict[str, Any]]) -> dict[str, int]:
    """The number of claims by verdict."""
    verdicts = [entry["verdict"] for entry in entries]
    return {verdict.replace(" ", "_"): verdicts.count(verdict) for verdict in VERDICTS}


def family(entries: list[dict[str, Any]]) -> dict[str, float]:
    """Multiple testing: what the number of claims implies for those whose verdict depends on a 95 % interval.

    A criterion on one side of an interval is met by chance in at most 2.5 of 100 cases in which it is not true.
    """
    sampled = [entry for entry in entries if entry["has_sampling_error"]]
    return {
        "decided_by_an_interval": len(sampled),
        "met_by_chance_at_most": 0.025 * len(sampled),
        "survive_bonferroni": sum(entry["survives_bonferroni"] for entry in sampled),
    }


def headlines(known: MetricTree) -> dict[str, float]:
    """The headlines of a run, without those that it did not measure."""
    return {
        name: factor * value for name, (path, factor) in HEADLINES.items() if (value := known.get(path)) is not None
    }


def beside_control(growth: Mapping[str, Any], ablations: dict[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
    """The ablations' metrics with `control.beyond`: how much more QKV weights moved than on shuffled tokens, by pairs.

    Nothing is added if there is no control of trainings with these settings.

    Args:
        growth: how the weights of each seed moved.
        train: the values of `MOVE` that they were trained with.
    """
    control = ablations.get("control", {})
    made_with = control.get("made_with", {})
    if any(made_with.get(name) != train[name] for name in MOVE):
        return ablations
    beyond = {}
    for name, of_control in control["by_seed"].items():
        of_text = growth.get(name, {})
        pairs = [of_text[seed] - of_control[seed] for seed in of_text.keys() & of_control.keys()]
        if pairs:
            beyond[name] = intervals.mean_interval(sorted(pairs)).as_metrics()
    return ablations | {"control": control | {"beyond": beyond}}


def main() -> None:
    cli.no_arguments(__doc__, "stages.claims")
    settings, _ = params.load("claims", Settings, Run)
    margins = settings.model_dump()
    train, run = params.load("train", train_config.Settings, train_config.Run)
    made_with = train.model_dump() | {"root_seed": run.root_seed, "tokens": files.read_metrics("tokens")}
    here = {name: files.read_metrics(name) for name in STAGES}
    ablations = files.read_json(files.ABLATIONS / "metrics.json")
    here["ablations"] = beside_control(files.read_json(GROWTH), ablations, made_with)
    entries = judge_all(CLAIMS, MetricTree(with_shares(here), margins))
    at_size = with_shares(measured(files.KEPT))
    for entry, kept in zip(entries, judge_all(CLAIMS, MetricTree(at_size, margins)), strict=True):
        entry["kept"] = {key: kept[key] for key in ("verdict", *ESTIMATE, "requirements")}
    files.write_json(OUTPUT, files.rounded({"claims": entries, "family": family(entries)}))
    metrics = {
        "count": counted(entries),
        "count_of_kept": counted([entry["kept"] for entry in entries]),
        "by_construction": counted([entry for entry in entries if entry["by_construction"]]),
        "family": family(entries),
        "beyond_control": here["ablations"].get("control", {}).get("beyond", {}),
        **{entry["id"]: as_metrics(entry) | {"kept": as_metrics(entry["kept"])} for entry in entries},
    }
    files.write_metrics("claims", metrics)
    files.write_metrics("headlines", headlines(MetricTree(here | {"claims": metrics}, margins)))


if __name__ == "__main__":
    cli.run(main)
