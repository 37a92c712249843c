"""Figures of the scaling experiments: products of random matrices, and softmax."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.drawing.style import BLACK, BLUE, GREEN, ORANGE, RED


def one_pair(q: np.ndarray, k: np.ndarray, width: float) -> Figure:
    """Experiment 1: the entries of Q, K and QKᵀ as three jittered rows of dots; q and k are (rows, d)."""
    figure = Figure(figsize=(width, 0.42 * width), layout="constrained")
    axes = figure.subplots()
    jitter = np.random.Generator(np.random.PCG64(0))
    product = q @ k.T
    for height, (values, colour) in enumerate(((product, RED), (k, ORANGE), (q, BLUE))):
        y = height + jitter.uniform(-0.3, 0.3, values.size)
        axes.plot(values.ravel(), y, ".", ms=2.5, alpha=0.5, mew=0, color=colour, rasterized=True)
        axes.annotate(
            f"σ = {values.std():.2f}", (1, height), xycoords=("axes fraction", "data"), ha="right", va="center"
        )
    axes.set(yticks=[0, 1, 2], yticklabels=["QKᵀ", "K", "Q"], xlabel="value of the entry (no unit)")
    axes.set_title(f"Entries of Q and K are N(0, 1); those of QKᵀ have σ ≈ √{q.shape[1]} = {np.sqrt(q.shape[1]):.2f}")
    axes.margins(x=0.12)
    return figure


def sweep(table: pd.DataFrame, width: float) -> Figure:
    """Experiment 2: σ(QKᵀ) of one draw for each n (dots) against √n (line)."""
    figure = Figure(figsize=(width, 0.5 * width), layout="constrained")
    axes = figure.subplots()
    n = table["dimension"]
    axes.plot(n, table["sqrt_dimension"], color=BLACK, lw=1.5, label="√n")
    axes.plot(n, table["sigma_single"], "o", ms=4, color=RED, alpha=0.75, mew=0, label="σ(QKᵀ), one draw for each n")
    axes.set(xlabel="dimension n (columns of Q and K)", ylabel="standard deviation of QKᵀ", ylim=(0, None))
    axes.set_title("The standard deviation of QKᵀ grows as √n")
    axes.legend(loc="upper left")
    return figure


def sweep_ratio(table: pd.DataFrame, width: float) -> Figure:
    """The sweep's ratio to theory: one draw, and the mean over trials with its 95 % interval."""
    figure = Figure(figsize=(width, 0.45 * width), layout="constrained")
    axes = figure.subplots()
    n = table["dimension"]
    axes.axhline(1, color=BLACK, lw=1, label="theory")
    axes.plot(n, table["sigma_single"] / table["sqrt_dimension"], ".", color=RED, alpha=0.5, label="one draw")
    axes.fill_between(n, table["ratio_low"], table["ratio_high"], color=BLUE, alpha=0.35, lw=0, label="95 % interval")
    trials = int(table["trials"].iloc[0])
    axes.plot(n, table["ratio"], color=BLUE, lw=1, label=f"mean of {trials:,} draws")
    axes.set(xlabel="dimension n (columns of Q and K)", ylabel="σ(QKᵀ) / √n")
    axes.set_title("How far from √n? One draw strays by several percent, the mean does not")
    axes.legend(ncols=4, loc="lower right", fontsize=9)
    return figure


def softmax(table: pd.DataFrame, width: float) -> Figure:
    """Experiment 3: softmax (top) and its negative logarithm (bottom), unscaled (left) and scaled (right)."""
    figure = Figure(figsize=(width, 0.85 * width), layout="constrained")
    grid = figure.subplots(2, 2, sharey="row", sharex="col")
    titles = {"unscaled": "QKᵀ", "scaled": "QKᵀ/√d"}
    kinds = (("all", GREEN, "over all entries (the exercise)"), ("rows", BLUE, "over each row (attention)"))
    for column, (scaling, title) in enumerate(titles.items()):
        for over, colour, label in kinds:
            chosen = table[(table["scaling"] == scaling) & (table["over"] == over)]
            for row, quantity in enumerate(("probability", "surprisal")):
                grid[row, column].plot(
                    chosen["logit"], chosen[quantity], ".", ms=3, alpha=0.5, mew=0, color=colour, label=label,
                    rasterized=True,
                )  # fmt: skip
        grid[0, column].set(title=f"softmax of {title}")
        grid[0, column].set_yscale("log")
        grid[1, column].set(xlabel=f"entry of {title}")
    grid[0, 0].set_ylabel("probability (log scale)")
    grid[1, 0].set_ylabel("-log probability (nats)")
    grid[1, 0].legend(fontsize=9, markerscale=3)
    return figure
