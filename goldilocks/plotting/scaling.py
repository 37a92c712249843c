"""Figures of the scaling experiments: products of random matrices, and softmax."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from goldilocks.plotting.palette import BLACK, BLUE, GREY, MATRICES, RED, SCALINGS
from goldilocks.plotting.style import headline, key, subplots, write


def one_pair(q: np.ndarray, k: np.ndarray) -> Figure:
    """Experiment 1: the entries of Q, K and QKᵀ as three jittered rows of dots; q and k are (rows, d)."""
    figure, axes = subplots(0.5)
    jitter = np.random.Generator(np.random.PCG64(0))
    product = q @ k.T
    for height, (values, colour) in enumerate(((product, BLACK), (k, MATRICES["k"]), (q, MATRICES["q"]))):
        y = height + jitter.uniform(-0.35, 0.35, values.size)
        axes.plot(values.ravel(), y, ".", ms=2.5, alpha=0.5, mew=0, color=colour, rasterized=True)
        write(axes, f"σ = {values.std():.2f}", (1, (height + 0.5) / 3), colour, xycoords="axes fraction")
    axes.set(yticks=[0, 1, 2], yticklabels=["QKᵀ", "K", "Q"], ylim=(-0.5, 2.5))
    axes.set(xlabel="value of the entry (no unit)", ylabel="matrix")
    axes.grid(axis="y", visible=False)
    return headline(
        figure,
        f"Entries of QKᵀ spread {product.std() / np.sqrt(q.std() * k.std()):.1f} times as wide as those of Q and K",
        f"A dot for each entry. Theory: √d times, √{q.shape[1]} = {np.sqrt(q.shape[1]):.2f}.",
        "Three rows of dots: the entries of Q, of K and of their product.",
    )


def sweep(table: pd.DataFrame) -> Figure:
    """Experiment 2: σ(QKᵀ) of one draw for each n (dots) against √n (line)."""
    figure, axes = subplots(0.55)
    n = table["dimension"]
    axes.plot(n, table["sqrt_dimension"], color=BLACK, lw=1.5)
    axes.plot(n, table["sigma_single"], "o", ms=4, color=RED, mew=0)
    axes.set(xlabel="dimension n (columns of Q and K)", ylabel="σ of QKᵀ (no unit)", ylim=(0, None))
    axes.set_xlim(right=n.max() + 1)
    key(axes, {"● one draw for each n": RED, "— theory: √n": BLACK}, "lower right")
    return headline(figure, "The standard deviation σ of QKᵀ grows as √n", description="Dots lie along the curve √n.")


def sweep_ratio(table: pd.DataFrame) -> Figure:
    """The sweep's ratio to theory: one draw, and the mean over trials with its 95 % interval."""
    figure, axes = subplots(0.5)
    n, single = table["dimension"], table["sigma_single"] / table["sqrt_dimension"]
    axes.axhline(1, color=BLACK, lw=1)
    axes.plot(n, single, "o", ms=3.5, mew=0, color=RED)
    axes.fill_between(n, table["ratio_low"], table["ratio_high"], color=BLUE, alpha=0.3, lw=0)
    axes.plot(n, table["ratio"], color=BLUE, lw=1.3)
    axes.set(xlabel="dimension n (columns of Q and K)", ylabel="σ(QKᵀ) / √n")
    axes.set_xlim(right=n.max() + 1)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.3 * (high - low), high)
    trials = int(table["trials"].iloc[0])
    names = {"● one draw for each n": RED, f"— mean of {trials:,} draws, 95 % band": BLUE, "— theory: 1": BLACK}
    key(axes, names, "lower right")
    one, mean = (100 * np.abs(ratio - 1).max() for ratio in (single, table["ratio"]))
    return headline(
        figure, f"One draw strays from √n by up to {one:.0f} %, the mean of {trials:,} by up to {mean:.1g} %"
    )


def softmax(table: pd.DataFrame) -> Figure:
    """Experiment 3: softmax (top) and its negative logarithm (bottom), unscaled (left) and scaled (right)."""
    figure, grid = subplots(0.85, 2, 2, sharey="row", sharex="col")
    titles = {"unscaled": "QKᵀ", "scaled": "QKᵀ/√d"}
    largest = {}
    for column, (scaling, title) in enumerate(titles.items()):
        for over, colour in (("all", GREY), ("rows", SCALINGS[scaling])):
            chosen = table[(table["scaling"] == scaling) & (table["over"] == over)]
            for row, quantity in enumerate(("probability", "surprisal")):
                dots = {"ms": 3.5, "alpha": 0.6, "mew": 0, "rasterized": True}
                grid[row, column].plot(chosen["logit"], chosen[quantity], ".", color=colour, **dots)
        largest[scaling] = chosen.groupby("row")["probability"].max().mean()
        grid[0, column].set_title(f"softmax of {title}")
        grid[1, column].set_xlabel(f"entry of {title} (no unit)")
        top = "upper left" if scaling == "unscaled" else "upper right"
        key(grid[0, column], {"over each row": SCALINGS[scaling], "over all entries": GREY}, top)
    grid[0, 0].set_ylabel("probability")
    grid[1, 0].set_ylabel("-ln probability (nats)")
    return headline(
        figure,
        f"The largest of a row holds {100 * largest['unscaled']:.0f} % of the probability, "
        f"over √d {100 * largest['scaled']:.0f} %",
        "A dot for each entry. Attention takes softmax over each row, the exercise over all entries at once.",
        "Probabilities above, their negative logarithms below; unscaled left, over √d right.",
    )
