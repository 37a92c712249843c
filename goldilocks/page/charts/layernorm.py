"""The interactive chart of LayerNorms: γ and β of GPT-2's four sizes and of this run's models, block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from goldilocks import page
from goldilocks.page.charts.base import COLOURS, Chart, Columns, Control, Explorer
from goldilocks.plotting.palette import GPT2_SIZES, GREY
from goldilocks.plotting.palette import PLACES as PLACE_COLOURS

AFTER, BEFORE = -1, -2  # all blocks, in the column `block` of the table
KINDS = {"gamma": "γ", "beta": "β"}
QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
NORM = ["model", "kind", "block", "place"]
GPT2 = Path(page.__file__).with_name("gpt2_norms.csv")
"""Quantiles of γ and β of each norm of OpenAI's four GPT-2, measured once on the public weights (openai-community)."""


def quantiles(layernorm: pd.DataFrame) -> pd.DataFrame:
    """Number and quantiles of the finite values of each norm, as columns n and `QUANTILES`."""
    values = layernorm[np.isfinite(layernorm["value"])].astype({name: str for name in NORM if name != "block"})
    of_norm = values.groupby(NORM, sort=False)["value"]
    found = of_norm.quantile(list(QUANTILES.values())).unstack()
    found.columns = pd.Index(list(QUANTILES))
    summarised: pd.DataFrame = found.assign(n=of_norm.size()).reset_index()
    return summarised


def by_block(layernorm: pd.DataFrame, gamma_from: float, gamma_to: float) -> Explorer:
    """Quantiles of γ and β by model, kind, block and place.

    Args:
        layernorm: the models of this run.
        gamma_from: the articles' range of γ.
        gamma_to: its end.
    """
    family = pd.read_csv(GPT2).replace({"model": GPT2_SIZES})
    table = pd.concat([family, quantiles(layernorm)])
    models = list(dict.fromkeys(table["model"]))
    places = {place: COLOURS[PLACE_COLOURS.get(place, GREY)] for place in sorted(set(table["place"]))}

    def frame(model: int, kind: int) -> Columns:
        rows = table[(table["model"] == models[model]) & (table["kind"] == list(KINDS)[kind])]
        blocks = int(rows["block"].max()) + 1 if len(rows) else 0
        rows = rows.assign(order=rows["block"].replace({AFTER: blocks, BEFORE: -1})).sort_values(["order", "place"])
        names = {blocks: "after", -1: "before"}
        return {
            "block": [names.get(order, str(order)) for order in rows["order"]],
            "place": rows["place"].tolist(),
            "banded": kind == 0,
            **{name: rows[name].to_numpy() for name in ("n", *QUANTILES)},
        }

    chart: Chart = {
        "kind": "ranges", "colours": places, "title": "", "xlabel": "block", "ylabel": "value",
        "band": [gamma_from, gamma_to], "band_label": f"value; shaded: the articles' {gamma_from:g} to {gamma_to:g}",
    }  # fmt: skip
    controls = (Control("model", "model", models), Control("kind", "parameter", list(KINDS.values())))
    about = "Values of the LayerNorms by block: median, quartiles and the range of 90\u00a0%"
    note = "Dot: median; thick line: from quartile to quartile; thin line: from the 5\u00a0% to the 95\u00a0% quantile."
    title = "γ and β of each model, block by block"
    return Explorer("layernorm_by_block", title, controls, frame, (chart,), (about,), note=note)
