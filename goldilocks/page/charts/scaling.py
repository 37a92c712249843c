"""The interactive charts of random queries and keys: one query, and the Goldilocks map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from goldilocks.core import rng
from goldilocks.page.charts.base import INK, Columns, Control, Explorer, Spec, chart, field, tooltip, words
from goldilocks.plotting.palette import ORANGE, RED, SKY
from goldilocks.softmax.scalings import EXPONENTS, FACTORS

KEYS = 16
QUARTER_OCTAVES = range(4, 49)  # d = 2 to 4,096, four for each doubling
LABELS = FACTORS | {"unscaled": "unscaled"}
SCALINGS = {LABELS[name]: exponent for name, exponent in EXPONENTS.items()}
QUANTITIES = {
    "relative_gradient": "gradient / that of an even softmax",
    "largest_probability": "largest probability",
    "normalised_entropy": "entropy / ln n",
}
PALER = {"outside": 0.35, "undecided": 0.65}


def one_query(root_seed: int) -> Explorer:
    """Logits, softmax and its gradient for one query and its keys, cut off at every dimension, by scaling."""
    dimensions = sorted({round(2 ** (n / 4)) for n in QUARTER_OCTAVES})
    stream = rng.generator(root_seed, "report/one-query")
    query, keys = stream.standard_normal(dimensions[-1]), stream.standard_normal((KEYS, dimensions[-1]))
    products = np.cumsum(query * keys, axis=1)  # (KEYS, d): q·k of the first d entries

    def frame(at: int) -> Columns:
        d = dimensions[at]
        return {"dimension": d, "product": products[:, d - 1]}

    hover = tooltip(key="key", logit="logit#", probability="softmax#", gradient="∂p/∂z#")

    def bars(name: str, title: str, colour: str, scale: Spec) -> Spec:
        axis = {"grid": False, "labelAngle": 0, "values": [1, *range(4, KEYS + 1, 4)]}
        encoding = {
            "tooltip": hover,
            "x": field("key", "key", "ordinal", axis=axis),
            "y": field(name, None, scale=scale, axis={"tickCount": 5}),
        }
        return chart(170, {"encoding": encoding, "mark": {"color": colour, "type": "bar"}}, title=title)

    widest = float(np.ceil(np.abs(products[:, [d - 1 for d in dimensions]]).max()))
    charts = (
        bars("logit", "logit z", INK, {"constant": 1, "domain": [-widest, widest], "type": "symlog"}),
        bars("probability", "softmax p", SKY, {"domain": [0, 1]}),
        bars("gradient", "gradient ∂p/∂z = p (1 - p)", ORANGE, {"domain": [0, 0.25]}),
    )
    controls = (
        Control("dimension", "dimension d", [f"{d:,}" for d in dimensions], dimensions.index(54), slider=True),
        Control("exponent", "scaling", list(SCALINGS), sets=list(SCALINGS.values())),
    )
    about = tuple(f"{what} of each of {KEYS} keys" for what in ("Logit", "Softmax", "Gradient of softmax by the logit"))
    title = f"Raise the dimension of a query and its {KEYS} keys, and see what softmax makes of them"
    shared = {"key": np.arange(1, KEYS + 1)}
    return Explorer("softmax", title, controls, frame, charts, about, shared)


def zone_map(cells: pd.DataFrame, thresholds: Mapping[str, float]) -> Explorer:
    """The map over dimension and logit scale; a sentence reads out one cell.

    Args:
        thresholds: the section `goldilocks`.
    """
    lengths, correlations = sorted(cells["length"].unique()), sorted(cells["correlation"].unique())
    dimensions, exponents = sorted(cells["dimension"].unique()), sorted(cells["exponent"].unique())
    by_keys = cells.sort_values(["dimension", "exponent"]).groupby(["length", "correlation"])
    shared = {"dimension": np.repeat(dimensions, len(exponents)), "exponent": np.tile(exponents, len(dimensions))}

    def frame(quantity: int, length: int, correlation: int) -> Columns:
        rows = by_keys.get_group((lengths[length], correlations[correlation]))
        return {
            "quantity": list(QUANTITIES.values())[quantity],
            "value": rows[list(QUANTITIES)[quantity]].to_numpy(),
            "zone": words(rows["zone"].astype(str).tolist()),
        }

    hover = tooltip(dimension="d", scale="scale", value="value#", zone="Goldilocks zone")
    names = {exponent: FACTORS[name] for name, exponent in EXPONENTS.items()}
    marked = " : ".join(f"datum.value == {exponent} ? '{name}'" for exponent, name in names.items())
    x = field("dimension", "dimension d", "ordinal", axis={"labelAngle": 0, "labelOverlap": True})
    scales = {"grid": False, "labelExpr": f"{marked} : ''", "values": list(names)}
    y = field("exponent", "logits times", "ordinal", axis=scales)
    middle, half = len(exponents) // 2, len(dimensions) // 2
    spec = chart(
        340,
        {
            "mark": "rect",
            "encoding": {
                "color": field("value", None, scale={"domain": [0, 1], "scheme": "viridis"}, legend={"format": ".1f"}),
                "opacity": {
                    "condition": [{"test": f"datum.zone == '{zone}'", "value": pale} for zone, pale in PALER.items()],
                    "value": 1,
                },
                "tooltip": hover,
                "x": x,
                "y": y,
            },
        },
        {
            "mark": {"fillOpacity": 0, "stroke": RED, "strokeWidth": 3, "type": "rect"},
            "encoding": {"x": x, "y": y},
            "transform": [{"filter": "datum.read"}],
        },
        transform=[{"calculate": "'d^-' + format(datum.exponent, '.2f')", "as": "scale"}],
    )
    controls = (
        Control("quantity", "colour", list(QUANTITIES.values())),
        Control("length", "keys n", [f"{n:,}" for n in lengths]),
        Control("correlation", "correlation ρ of q with one k", [f"{rho:g}" for rho in correlations]),
        Control(
            "dimension", "read at dimension d", [f"{d:,}" for d in dimensions], half, True, [int(d) for d in dimensions]
        ),
        Control(
            "exponent", "and at logits times d to the power", [f"-{e:.2f}" for e in exponents], middle, True,
            [float(e) for e in exponents],
        ),
    )  # fmt: skip
    about = "Map of what softmax does, over dimension and logit scale; what lies outside the Goldilocks zone is paler"
    note = (
        "Pale: outside the Goldilocks zone. In it the gradient of -ln p, for a key drawn by p, is at least "
        f"{thresholds['least_gradient']:g} of an even softmax's, and the largest probability at least "
        f"{thresholds['least_discrimination']:g}/n."
    )
    return Explorer("goldilocks_map", "Walk over the map", controls, frame, (spec,), (about,), shared, note)
