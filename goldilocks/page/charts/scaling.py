"""The interactive charts of random queries and keys: one query, and the Goldilocks map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from goldilocks.core import rng
from goldilocks.page.charts.base import Chart, Columns, Control, Explorer, words
from goldilocks.plotting.palette import VIRIDIS
from goldilocks.softmax import statistics
from goldilocks.softmax.scalings import EXPONENTS, FACTORS, OWN

QUERIES = 400  # of which one is typical, and behind the means
QUARTER_OCTAVES = range(4, 49)  # d = 2 to 4,096, four for each doubling
SCALINGS = {FACTORS[name] if exponent else "unscaled": exponent for name, exponent in EXPONENTS.items()}
MEASURES = {
    "largest": lambda log_p: np.exp(log_p.max(-1)),
    "loss_gradient": statistics.of_even(statistics.gradient_norm),
    "diagonal": statistics.of_even(statistics.trace),
    "jacobian": statistics.of_even(statistics.jacobian_norm),
}
"""What is said of each query, and of the mean of many; all but the first as shares of an even softmax's."""

QUANTITIES = {
    "relative_gradient": ("loss gradient / an even softmax's", "the loss gradient is {} of an even softmax's"),
    "largest_probability": ("largest probability", "the largest probability is {}"),
    "normalised_entropy": ("entropy / ln n", "the entropy is {} of ln n, an even softmax's"),
}
"""What colours the map: in its list, and in the sentence that reads out a cell."""


def typical(products: np.ndarray) -> int:
    """The query whose softmax is nearest to the mean of all, in every measure.

    Args:
        products: (queries, keys).
    """
    measured = np.stack([measure(statistics.log_softmax(products)) for measure in MEASURES.values()], axis=1)
    apart = (measured - measured.mean(axis=0)) / measured.std(axis=0)
    return int(np.argmin((apart**2).sum(axis=1)))


def one_query(root_seed: int, at: int, keys: int) -> Explorer:
    """Logits, softmax and its derivative for a typical query and its keys, at every dimension, by scaling.

    Args:
        at: the dimension at which the query is typical, and which is shown first.
        keys: of each query.
    """
    dimensions = sorted({round(2 ** (n / 4)) for n in QUARTER_OCTAVES} | {at})
    starts, longest = [0, *dimensions[:-1]], dimensions[-1]
    stream = rng.generator(root_seed, "report/one-query")
    q, k = stream.standard_normal((QUERIES, at)), stream.standard_normal((QUERIES, keys, at))
    shown = typical(np.einsum("qd,qkd->qk", q, k))
    query = np.append(q[shown], stream.standard_normal(longest - at))
    its_keys = np.append(k[shown], stream.standard_normal((keys, longest - at)), axis=1)
    products = np.add.reduceat(query * its_keys, starts, axis=1).cumsum(axis=1)  # (keys, dimensions)
    # given q, the products with its keys are independent N(0, ‖q‖²)
    norms = np.sqrt(np.add.reduceat(stream.standard_normal((QUERIES, longest)) ** 2, starts, axis=1).cumsum(axis=1))
    many = stream.standard_normal((QUERIES, keys))
    powers = list(SCALINGS.values())

    def frame(position: int, scaling: int) -> Columns:
        scale = float(dimensions[position]) ** -powers[scaling]
        logits = scale * products[:, position]
        own, all_p = map(statistics.log_softmax, (logits, scale * norms[:, position, None] * many))
        columns = {"logit": logits}
        for name, measure in MEASURES.items():
            columns |= {name: measure(own), f"mean_{name}": measure(all_p).mean()}
        return columns

    widest = float(np.ceil(np.abs(products).max()))
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300) if tick <= widest]
    charts: tuple[Chart, ...] = (
        {
            "kind": "bars", "x": "key", "y": "logit", "title": "logit z (log scale beyond ±1)", "colour": "ink",
            "domain": [-widest, widest], "symlog": True, "ticks": [*(-tick for tick in reversed(ticks)), 0, *ticks],
        },
        {
            "kind": "bars", "x": "key", "y": "probability", "title": "softmax p", "colour": "sky", "domain": [0, 1],
            "ticks": [0, 0.25, 0.5, 0.75, 1], "rule": "mean_largest", "rule_label": f"mean largest of {QUERIES:,}",
        },
        {
            "kind": "bars", "x": "key", "y": "derivative", "title": "p(1 − p), how p moves with z",
            "colour": "orange", "domain": [0, 0.25], "ticks": [0, 0.05, 0.1, 0.15, 0.2, 0.25],
        },
    )  # fmt: skip
    controls = (
        Control("dimension", "dimension d", [f"{d:,}" for d in dimensions], dimensions.index(at), slider=True),
        Control("scaling", "logits are q·k times", list(SCALINGS)),
    )
    what = "Logit", "Probability", "Derivative of the probability by its logit"
    about = tuple(f"{each} of each of {keys} keys" for each in what)
    title = "Raise the dimension of a query and its keys, and see what softmax makes of them"
    note = (
        f"A query and {keys} keys of independent N(0, 1) entries, chosen as typical of {QUERIES:,} at d = {at}; "
        f"smaller d take its first entries. In brackets: means of {QUERIES:,} queries."
    )
    shared = {"key": np.arange(1, keys + 1)}
    return Explorer("softmax", title, controls, frame, charts, about, shared, note)


def zone_map(cells: pd.DataFrame, thresholds: Mapping[str, float]) -> Explorer:
    """The map over dimension and logit scale; a sentence reads out the cell that was chosen.

    Args:
        thresholds: the section `goldilocks`.
    """
    lengths, correlations = sorted(cells["length"].unique()), sorted(cells["correlation"].unique())
    dimensions, exponents = sorted(cells["dimension"].unique()), sorted(cells["exponent"].unique())
    by_keys = cells.sort_values(["dimension", "exponent"]).groupby(["length", "correlation"])
    shared = {"dimension": np.repeat(dimensions, len(exponents)), "exponent": np.tile(exponents, len(dimensions))}
    middle = len(lengths) // 2

    def frame(quantity: int, length: int, correlation: int) -> Columns:
        rows = by_keys.get_group((lengths[length], correlations[correlation]))
        return {
            "reading": list(QUANTITIES.values())[quantity][1],
            "value": rows[list(QUANTITIES)[quantity]].round(3).to_numpy(),
            "zone": words(rows["zone"].astype(str).tolist()),
        }

    chart: Chart = {
        "kind": "map", "colours": VIRIDIS, "marks": {f"{EXPONENTS[name]:g}": FACTORS[name] for name in EXPONENTS},
        "sets": {"x": "dimension", "y": "exponent"}, "title": "", "xlabel": "dimension d",
        "ylabel": "logits times",
    }  # fmt: skip
    by_root = int(np.argmin(np.abs(np.array(exponents) - EXPONENTS[OWN])))
    controls = (
        Control("quantity", "colour", [label for label, _ in QUANTITIES.values()]),
        Control("length", "keys n", [f"{n:,}" for n in lengths], middle),
        Control("correlation", "correlation ρ of q with one k", [f"{rho:g}" for rho in correlations]),
        Control(
            "dimension", "dimension d of the cell", [f"{d:,}" for d in dimensions], len(dimensions) // 2, True,
            [int(d) for d in dimensions],
        ),
        Control(
            "exponent", "its logits are q·k times d to the power", [f"−{e:.3f}" for e in exponents], by_root, True,
            [float(e) for e in exponents],
        ),
    )  # fmt: skip
    about = "Map of what softmax does, over dimension and logit scale, with the Goldilocks zone outlined"
    note = (
        "Outlined: the Goldilocks zone. In it the loss gradient is at least "
        f"{thresholds['least_gradient']:g} of an even softmax's, and the largest probability at least "
        f"{thresholds['least_discrimination']:g}/n. A dot: the sample does not decide. Click a cell to read it."
    )
    return Explorer("goldilocks_map", "Walk over the map", controls, frame, (chart,), (about,), shared, note)
