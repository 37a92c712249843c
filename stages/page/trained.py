"""The interactive charts of trained models: LayerNorms, Model 5's weights, and what its choices are worth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import deserialize

from stages.common import files, floats
from stages.common.palette import BLACK, BLUE, GREY
from stages.common.palette import PLACES as COLOURS
from stages.page.explorer import (
    INK,
    Columns,
    Control,
    Explorer,
    chart,
    eight_bits,
    field,
    told,
)

PARTS = {"q": "Q", "k": "K", "v": "V"}
AFTER, BEFORE = -1, -2  # the blocks, as the table of norms has it
BINS = 50
MOST_HISTOGRAMS = 4000
PLACES = {"ln_1": "attention input", "ln_2": "mlp input", "ln_f": "final"}  # of GPT-2's norms
QUANTILES = {"lowest": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "highest": 1.0}
OUTCOMES = {
    "last_test_loss": "last test loss (nats/token)",
    "added_loss": "loss less that of the articles' model (nats/token)",
    "initial_attention_entropy": "attention entropy at the start, of its maximum",
    "final_attention_entropy": "attention entropy at the end, of its maximum",
    "widening": "widening of the QKV weights",
}
WATCHED = {
    "std": "standard deviation",
    "excess_kurtosis": "excess kurtosis",
    "spectral_norm": "spectral norm",
    "cosine_to_initial": "cosine to the initial weights",
    "normalised_entropy": "attention entropy, of its maximum",
}


def norms(layernorm: pd.DataFrame, kept: pd.DataFrame) -> Explorer:
    """γ and β by model, kind, block and place: quantiles of each vector.

    Args:
        layernorm: the models surveyed.
        kept: those that the kept run surveyed; its columns may be an older version's.
    """
    if "norm" in kept:
        kept = kept.assign(place=kept["norm"].map(PLACES))
    kinds = {"gamma": "γ", "beta": "β"}
    surveyed = [layernorm, kept.assign(model=kept["model"].astype(str) + ", in the kept run")]
    of_model = {
        str(model): of[np.isfinite(of["value"])]
        for table in surveyed
        for model, of in table.groupby("model", observed=True, sort=False)
    }
    models = list(of_model)
    places = sorted({str(place) for table in of_model.values() for place in table["place"].unique()})
    colours = [INK if (colour := COLOURS.get(place, GREY)) == BLACK else colour for place in places]

    def frame(model: int, kind: int) -> Columns:
        table = of_model[models[model]]
        table = table[table["kind"] == list(kinds)[kind]]
        blocks = int(table["block"].max()) + 1 if len(table) else 0
        found: dict[str, list[Any]] = {name: [] for name in ("block", "order", "place", "n", *QUANTILES)}
        table = table.assign(order=table["block"].replace({AFTER: blocks, BEFORE: -1}))
        for (order, place), values in table.groupby(["order", "place"], observed=True)["value"]:
            found["block"].append({blocks: "after", -1: "before"}.get(order, str(order)))
            found["order"].append(order)
            found["place"].append(place)
            found["n"].append(len(values))
            for name, share in QUANTILES.items():
                found[name].append(float(np.quantile(values, share)))
        return found

    x = field("block", "block", "ordinal", axis={"labelAngle": 0}, sort={"field": "order"})
    shared = {
        "color": field("place", None, "nominal", scale={"domain": places, "range": colours}),
        "tooltip": told(
            block="block", place="before", n="values", lowest="lowest#", q05="5 %#", q25="25 %#", median="median#",
            q75="75 %#", q95="95 %#", highest="highest#",
        ),
        "x": x,
        "xOffset": {"field": "place"},
    }  # fmt: skip
    spec = chart(
        300,
        {
            "mark": {"opacity": 0.7, "type": "rule"},
            "encoding": {**shared, "y": field("lowest", "value", scale={"zero": False}), "y2": {"field": "highest"}},
        },
        {
            "mark": {"opacity": 0.4, "strokeWidth": 12, "type": "rule"},
            "encoding": {**shared, "y": field("q05", None), "y2": {"field": "q95"}},
        },
        {
            "mark": {"filled": True, "opacity": 1, "size": 60, "type": "point"},
            "encoding": {**shared, "y": field("median", None)},
        },
    )
    controls = (Control("model", "model", models), Control("kind", "parameter", list(kinds.values())))
    about = "Values of the LayerNorms by block: median, the range of 90 % and of all."
    return Explorer("layernorm_by_block", "Choose a model, and γ or β", controls, frame, (spec,), (about,), told=True)


def snapshot(path: Path) -> list[np.ndarray]:
    """The QKV weights of a snapshot by block, (3 · width, width) float32 each."""
    found = {}
    for name, tensor in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
        (block,) = re.findall(r"blocks\.(\d+)\.", name)
        bits = np.frombuffer(tensor["data"], "<u2" if tensor["dtype"] == "BF16" else "<f4")
        values = floats.from_bf16_bits(bits) if tensor["dtype"] == "BF16" else bits
        found[int(block)] = values.reshape(tensor["shape"])
    return [weights for _, weights in sorted(found.items())]


def histograms(run: Path, limit: float, heads: int) -> Explorer:
    """Histograms of the QKV weights at every snapshot, by block, part and head.

    Of large models only as many snapshots as the page can hold, evenly chosen, the first and the last among them.

    Args:
        run: the outputs of one training of Model 5.
        limit: the histograms' range is ±limit.
        heads: of each block.
    """
    paths = sorted((run / "qkv").glob("step-*.safetensors"))
    by_step = len(snapshot(paths[0])) * len(PARTS) * (heads + 1)
    kept = np.linspace(0, len(paths) - 1, min(len(paths), max(2, MOST_HISTOGRAMS // by_step)))
    paths = [paths[i] for i in dict.fromkeys(kept.round().astype(int))]
    steps = [int(path.stem.removeprefix("step-")) for path in paths]
    edges = np.linspace(-limit, limit, BINS + 1)
    counts = np.stack([_counts(path, edges, heads) for path in paths])  # (steps, blocks, parts, heads + 1, BINS + 2)
    weights = pd.read_parquet(run / "weights.parquet")
    weights["part"] = weights["part"].astype(str)
    known = weights.set_index(["step", "block", "part", "head"])[["std", "excess_kurtosis"]].to_dict("index")

    def frame(step: int, block: int, part: int, head: int) -> Columns:
        found = counts[step, block, part, head]
        facts = known[steps[step], block, list(PARTS)[part], head - 1]
        return {
            "left": edges[:-1],
            "right": edges[1:],
            "share": eight_bits(100 * found[1:-1] / found.sum()),
            "beyond": files.significant(100 * (found[0] + found[-1]) / found.sum(), 4),
            "sigma": files.significant(facts["std"], 4),
            "kurtosis": files.significant(facts["excess_kurtosis"], 4),
        }

    x = field("left", "weight", scale={"domain": [-limit, limit], "nice": False}, axis={"grid": False})
    hover = told(left="from#", right="to#", share="% of the weights#")
    spec = chart(
        280,
        {
            "mark": {"color": BLUE, "opacity": 0.8, "type": "bar"},
            "encoding": {
                "tooltip": hover,
                "x": x,
                "x2": {"field": "right"},
                "y": field("share", "% of the weights"),
                "y2": {"datum": 0},
            },
        },
        {
            "data": {"name": "reference"},
            "mark": {"color": INK, "interpolate": "step-after", "opacity": 0.7, "strokeDash": [4, 3], "type": "line"},
            "encoding": {"x": x, "y": field("share", None)},
        },
    )
    controls = (
        Control("step", "step", [f"{step:,}" for step in steps], len(steps) - 1, slider=True),
        Control("block", "block", [str(block) for block in range(counts.shape[1])]),
        Control("part", "matrix", list(PARTS.values())),
        Control("head", "head", ["all heads", *map(str, range(heads))]),
    )
    about = "Histogram of the weights at the chosen step; a dashed line shows them before training."
    title = "Slide through training; dashed: before the first update"
    reference = {"step": 0}
    return Explorer("qkv_histograms", title, controls, frame, (spec,), (about,), reference, told=True)


def _counts(path: Path, edges: np.ndarray, heads: int) -> np.ndarray:
    """Counts of one snapshot's weights, beyond the edges too, by block, part and head, all heads first.

    Returns:
        (blocks, parts, heads + 1, edges + 1).
    """
    blocks = []
    for weights in snapshot(path):
        by_head = weights.reshape(len(PARTS), heads, -1)  # (3, H, D/H · D)
        places = np.searchsorted(edges, by_head, "right")
        counts = np.stack([[np.bincount(head, minlength=edges.size + 1) for head in part] for part in places])
        blocks.append(np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1))
    return np.stack(blocks)


def movement(dynamics: pd.DataFrame) -> Explorer:
    """How the QKV weights and attention move over training, a line for each block, with intervals over seeds."""
    shown = {name: label for name, label in WATCHED.items() if name in set(dynamics["quantity"])}
    blocks = sorted(int(block) for block in dynamics["block"].unique() if block >= 0)

    def frame(quantity: int) -> Columns:
        rows = dynamics[(dynamics["quantity"] == list(shown)[quantity]) & (dynamics["block"] >= 0)]
        return {
            "step": rows["step"].to_numpy(),
            "block": rows["block"].to_numpy(),
            "mean": rows["mean"].to_numpy(),
            "low": rows["low"].to_numpy(),
            "high": rows["high"].to_numpy(),
        }

    colour = field("block", "block", "ordinal", scale={"domain": blocks, "scheme": "viridis"})
    x = field("step", "step (updates)", axis={"grid": False, "tickCount": 6})
    y = field("mean", None, scale={"zero": False})
    spec = chart(
        300,
        {
            "mark": {"opacity": 0.2, "type": "area"},
            "encoding": {"color": colour, "x": x, "y": field("low", None), "y2": {"field": "high"}},
        },
        {"mark": {"strokeWidth": 2.5, "type": "line"}, "encoding": {"color": colour, "x": x, "y": y}},
        {
            "mark": {"filled": True, "opacity": 1, "size": 40, "type": "point"},
            "encoding": {
                "color": colour,
                "tooltip": told(block="block", step="step", mean="mean#", low="from#", high="to#"),
                "x": x,
                "y": y,
            },
        },
    )
    controls = (Control("quantity", "QKV weights'", list(shown.values())),)
    about = "How the QKV weights change over the steps of training, a line for each block."
    return Explorer("std_by_block", "Choose what to follow", controls, frame, (spec,), (about,))


def outcomes(conditions: Mapping[str, Any], labels: Mapping[str, str], usual: str) -> Explorer:
    """What each ablation ended with, with its interval over seeds.

    Args:
        conditions: what was found, by condition.
        labels: the conditions' names for people.
        usual: the articles' condition.
    """
    shown = {name: label for name, label in OUTCOMES.items() if any(name in found for found in conditions.values())}

    def frame(outcome: int) -> Columns:
        name = list(shown)[outcome]
        found = {condition: found[name] for condition, found in conditions.items() if name in found}
        ordered = sorted(found, key=lambda condition: float(found[condition]["value"]))
        return {
            "condition": [labels[condition] for condition in ordered],
            "value": [found[condition]["value"] for condition in ordered],
            "low": [found[condition]["low"] for condition in ordered],
            "high": [found[condition]["high"] for condition in ordered],
        }

    colour = {"condition": {"test": f"datum.condition == '{labels[usual]}'", "value": INK}, "value": BLUE}
    y = field("condition", None, "nominal", sort=None, axis={"grid": False, "labelLimit": 240})
    hover = told(condition="condition", value="mean#", low="from#", high="to#")
    shared = {"color": colour, "tooltip": hover, "y": y}
    spec = chart(
        26 * len(conditions),
        {
            "mark": {"opacity": 0.6, "strokeWidth": 3, "type": "rule"},
            "encoding": {
                **shared,
                "x": field("low", None, axis={"tickCount": 6}, scale={"zero": False}),
                "x2": {"field": "high"},
            },
        },
        {
            "mark": {"filled": True, "opacity": 1, "size": 70, "type": "point"},
            "encoding": {**shared, "x": field("value", None)},
        },
    )
    controls = (Control("outcome", "compare by", list(shown.values())),)
    about = "What training ended with in each condition, mean and interval over seeds."
    return Explorer("test_loss", "Choose what to compare by", controls, frame, (spec,), (about,))
