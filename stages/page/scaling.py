"""The interactive charts of random queries and keys: growth, one query, the map, and what did not reproduce."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from goldilocks.softmax.scalings import EXPONENTS, FACTORS
from stages.common import streams
from stages.common.palette import BLUE, ORANGE, RED, SKY
from stages.common.palette import SCALINGS as COLOURS
from stages.page.explorer import INK, Columns, Control, Explorer, Spec, chart, field, told, words

KEYS = 16
QUARTER_OCTAVES = range(4, 49)  # d = 2 to 4,096, four of them for each doubling
LABELS = FACTORS | {"unscaled": "unscaled"}
SCALINGS = {LABELS[name]: exponent for name, exponent in EXPONENTS.items()}
QUANTITIES = {
    "relative_gradient": "gradient / that of an even softmax",
    "largest_probability": "largest probability",
    "normalised_entropy": "entropy / ln n",
}
DIMENSION = field("dimension", "dimension d", scale={"base": 2, "type": "log"}, axis={"format": "~d", "grid": False})
PALER = {"outside": 0.35, "undecided": 0.65}


def growth(sweep: pd.DataFrame) -> Explorer:
    """Standard deviation of QKᵀ by dimension: one draw, the mean of many, and the theory."""
    columns = {
        "dimension": sweep["dimension"].to_numpy(),
        "theory": sweep["sqrt_dimension"].to_numpy(),
        "single": sweep["sigma_single"].to_numpy(),
        "mean": sweep["sigma_mean"].to_numpy(),
        "low": sweep["sigma_low"].to_numpy(),
        "high": sweep["sigma_high"].to_numpy(),
    }
    x = field("dimension", "dimension n", axis={"grid": False})
    hover = told(dimension="n", single="σ, one draw#", mean="σ, mean#", low="from#", high="to#", theory="√n#")
    spec = chart(
        320,
        {
            "mark": {"color": INK, "strokeDash": [5, 4], "type": "line"},
            "encoding": {"x": x, "y": field("theory", None)},
        },
        {
            "mark": {"color": BLUE, "filled": True, "opacity": 0.85, "size": 26, "type": "point"},
            "encoding": {"tooltip": hover, "x": x, "y": field("single", "σ of QKᵀ")},
        },
        {
            "mark": {"align": "right", "dx": -6, "dy": -8, "text": "theory: √n", "type": "text"},
            "encoding": {"x": x, "y": field("theory", None)},
            "transform": [{"filter": f"datum.dimension == {int(sweep['dimension'].max())}"}],
        },
    )
    about = "Standard deviation of the product of two random matrices by their dimension, beside the square root of it"
    return Explorer(
        "sweep", "σ of QKᵀ by dimension: point at a dot for its numbers", (), lambda: columns, (spec,), (about,)
    )


def one_query(root_seed: int) -> Explorer:
    """A query and its keys, entry by entry longer: logits, softmax and its gradient at every dimension and scaling."""
    dimensions = sorted({round(2 ** (n / 4)) for n in QUARTER_OCTAVES})
    stream = streams.generator(root_seed, "report/one-query")
    query, keys = stream.standard_normal(dimensions[-1]), stream.standard_normal((KEYS, dimensions[-1]))
    products = np.cumsum(query * keys, axis=1)  # (KEYS, d): q·k of the first d entries

    def frame(at: int) -> Columns:
        d = dimensions[at]
        return {"dimension": d, "key": np.arange(1, KEYS + 1), "product": products[:, d - 1]}

    hover = told(key="key", logit="logit#", probability="softmax#", gradient="∂p/∂z#")

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
    return Explorer("softmax", title, controls, frame, charts, about, told=True)


def by_scaling(cells: pd.DataFrame) -> Explorer:
    """What softmax does by dimension under the three scalings, for each number of keys and each correlation."""
    lengths, correlations = sorted(cells["length"].unique()), sorted(cells["correlation"].unique())
    names = {exponent: name for name, exponent in SCALINGS.items()}
    kept = cells[cells["exponent"].isin(names)]

    def frame(quantity: int, length: int, correlation: int) -> Columns:
        rows = kept[(kept["length"] == lengths[length]) & (kept["correlation"] == correlations[correlation])]
        name = list(QUANTITIES)[quantity]
        return {
            "dimension": rows["dimension"].to_numpy(),
            "scaling": words(rows["exponent"].map(names).tolist()),
            "value": rows[name].to_numpy(),
            "low": rows[f"{name}_low"].to_numpy(),
            "high": rows[f"{name}_high"].to_numpy(),
        }

    colour = field("scaling", None, "nominal", scale={"domain": list(SCALINGS), "range": list(COLOURS.values())})
    y = field("value", None, scale={"domain": [0, 1]})
    hover = told(scaling="scaling", dimension="d", value="mean#", low="from#", high="to#")
    spec = chart(
        280,
        {
            "mark": {"opacity": 0.2, "type": "area"},
            "encoding": {"color": colour, "x": DIMENSION, "y": field("low", None), "y2": {"field": "high"}},
        },
        {"mark": "line", "encoding": {"color": colour, "x": DIMENSION, "y": y}},
        {
            "mark": {"filled": True, "opacity": 1, "size": 50, "type": "point"},
            "encoding": {"color": colour, "tooltip": hover, "x": DIMENSION, "y": y},
        },
    )
    controls = (
        Control("quantity", "what softmax does", list(QUANTITIES.values())),
        Control("length", "keys n", [f"{n:,}" for n in lengths]),
        Control("correlation", "correlation ρ of q with one k", [f"{rho:g}" for rho in correlations]),
    )
    about = "What softmax does by dimension, a line for each scaling of the logits"
    return Explorer("goldilocks_zone", "The three scalings", controls, frame, (spec,), (about,))


def zone_map(cells: pd.DataFrame, thresholds: Mapping[str, float]) -> Explorer:
    """The map over dimension and logit scale, with a read-out of one cell.

    Args:
        thresholds: of the zone, as the section `goldilocks` has them.
    """
    lengths, correlations = sorted(cells["length"].unique()), sorted(cells["correlation"].unique())
    dimensions, exponents = sorted(cells["dimension"].unique()), sorted(cells["exponent"].unique())

    def frame(quantity: int, length: int, correlation: int) -> Columns:
        rows = cells[(cells["length"] == lengths[length]) & (cells["correlation"] == correlations[correlation])]
        rows = rows.sort_values(["dimension", "exponent"])
        return {
            "dimension": rows["dimension"].to_numpy(),
            "exponent": rows["exponent"].to_numpy(),
            "quantity": list(QUANTITIES.values())[quantity],
            "value": rows[list(QUANTITIES)[quantity]].to_numpy(),
            "zone": words(rows["zone"].astype(str).tolist()),
        }

    hover = told(dimension="d", scale="scale", value="value#", zone="Goldilocks zone")
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
    return Explorer("goldilocks_map", "Walk over the map", controls, frame, (spec,), (about,), told=True, note=note)


def jacobians(cells: pd.DataFrame, at: int) -> Explorer:
    """Softmax's Jacobian without scaling over that with 1/√d, by dimension and number of keys.

    Args:
        at: the dimension the articles look at.
    """
    correlations = sorted(cells["correlation"].unique())
    norms = cells.pivot_table(index=["correlation", "length", "dimension"], columns="exponent", values="jacobian_norm")
    ratio = (norms[EXPONENTS["unscaled"]] / norms[EXPONENTS["scaled"]]).rename("ratio").reset_index()

    def frame(correlation: int) -> Columns:
        rows = ratio[ratio["correlation"] == correlations[correlation]]
        return {
            "dimension": rows["dimension"].to_numpy(),
            "keys": words([f"{n:,} keys" for n in rows["length"]]),
            "ratio": rows["ratio"].to_numpy(),
        }

    domain = [f"{n:,} keys" for n in sorted(cells["length"].unique())]
    colour = field("keys", None, "ordinal", scale={"domain": domain, "scheme": "viridis"})
    y = field("ratio", "‖Jacobian‖, unscaled / scaled by 1/√d", scale={"type": "symlog", "constant": 0.1})
    hover = told(keys="row of", dimension="d", ratio="ratio#")
    spec = chart(
        280,
        {"mark": {"aria": False, "color": INK, "opacity": 0.5, "type": "rule"}, "encoding": {"y": {"datum": 1}}},
        {
            "mark": {"aria": False, "color": INK, "opacity": 0.5, "strokeDash": [5, 4], "type": "rule"},
            "encoding": {"x": {"datum": at}},
        },
        {"mark": "line", "encoding": {"color": colour, "x": DIMENSION, "y": y}},
        {
            "mark": {"filled": True, "opacity": 1, "size": 50, "type": "point"},
            "encoding": {"color": colour, "tooltip": hover, "x": DIMENSION, "y": y},
        },
    )
    controls = (Control("correlation", "correlation ρ of q with one k", [f"{rho:g}" for rho in correlations]),)
    about = f"Ratio of softmax's gradients without and with scaling, by dimension; a dashed line marks d = {at}"
    return Explorer("jacobians", "Where the gradient vanishes", controls, frame, (spec,), (about,))
