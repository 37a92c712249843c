"""The interactive chart of LayerNorms: γ and β by model and block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from goldilocks.page.charts.base import INK, Columns, Control, Explorer, chart, field, tooltip
from goldilocks.plotting.palette import BLACK, GREY
from goldilocks.plotting.palette import PLACES as COLOURS

AFTER, BEFORE = -1, -2  # all blocks, in the column `block` of the table
PLACES = {"ln_1": "attention input", "ln_2": "mlp input", "ln_f": "final"}  # of GPT-2's norms
QUANTILES = {"lowest": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "highest": 1.0}


def by_block(layernorm: pd.DataFrame, kept: pd.DataFrame) -> Explorer:
    """Quantiles of γ and β by model, kind, block and place.

    Args:
        layernorm: the models of this run.
        kept: the models of the kept run; its columns may be those of an older version.
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
        "tooltip": tooltip(
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
    about = "Values of the LayerNorms by block: median, the range of 90 % and of all"
    return Explorer("layernorm_by_block", "γ and β of each model, block by block", controls, frame, (spec,), (about,))
