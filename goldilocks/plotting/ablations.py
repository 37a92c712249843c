"""Figures of the ablations: the effect of each choice of Model 5 on its training."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from goldilocks.ablations.conditions import (
    ARTICLES,
    ARTICLES_UNSCALED,
    BASE,
    CONDITIONS,
    LABELS,
    MAIN,
    NO_LAYERNORM,
    OF_SIZES,
    SIZES,
    STARTS,
    WITHOUT_ATTENTION,
)
from goldilocks.ablations.summary import chosen
from goldilocks.plotting.palette import BLACK, CHANGES, GREY, SCALINGS
from goldilocks.plotting.style import headline, key, new_figure, subplots
from goldilocks.softmax.scalings import OWN_FIRST

COLOURS = CHANGES | {f"{scaling}{start}": colour for scaling, colour in SCALINGS.items() for start in STARTS}
LOSS = "test loss (nats/token)"
OTHER_HEAD_OR_NORM = ("post_layernorm", "rmsnorm", ARTICLES, ARTICLES_UNSCALED)
SINGLE = {
    "one change": tuple(name for name in CHANGES if name not in OTHER_HEAD_OR_NORM),
    "another head or norm": OTHER_HEAD_OR_NORM,
}
"""The panels of single changes."""


def figures(runs: pd.DataFrame, found: dict[str, Any]) -> dict[str, Callable[[], Figure]]:
    """Functions that draw the figures for which there are runs, by name."""
    conditions = {name: of for name, of in found["conditions"].items() if name in MAIN}
    drawn = {"test_loss": lambda: test_loss(conditions), "loss_curves": lambda: curves(runs, list(conditions))}
    if "without_layernorm" in found:
        drawn["layernorm"] = lambda: layernorm(runs)
    if any(size in found["conditions"] for size in SIZES):
        drawn["sizes"] = lambda: sizes(found["conditions"])
    return drawn


def _estimate(axes: Axes, found: dict[str, Any], quantity: str, y: float, colour: str, size: float) -> None:
    """A line for an interval and a dot for its estimate, hollow if the condition is not shown to attend."""
    e = found[quantity]
    axes.plot([e["low"], e["high"]], [y, y], color=colour, lw=2)
    axes.plot(e["value"], y, "o", ms=size, color=colour, markerfacecolor=colour if found["attends"] else "white")


def test_loss(conditions: dict[str, Any]) -> Figure:
    """The last test loss of each condition with its interval over seeds (left), and its paired difference to the base.

    Conditions that are not shown to attend have a hollow dot for each seed that did not break down.
    """
    names = [name for name in conditions if "last_test_loss" in conditions[name]]
    figure, panels = subplots(0.25, 1, 2, inches=0.27 * len(names), sharey=True)
    order = sorted(names, key=lambda name: -statistics.median(conditions[name]["by_seed"]["last_test_loss"].values()))
    base = conditions[BASE]["by_seed"]["last_test_loss"]
    labels = []
    for y, name in enumerate(order):
        found, colour = conditions[name], COLOURS[name]
        lost, star = found["broke_down"], "" if found["attends"] else " *"
        labels.append(CONDITIONS[name].label + (f" ({lost} broke down)" if lost else "") + star)
        if found["attends"]:
            for axes, quantity in zip(panels, ("last_test_loss", "added_loss"), strict=True):
                _estimate(axes, found, quantity, y, colour, 5)
            continue
        for seed, loss in found["by_seed"]["last_test_loss"].items():
            if loss <= found["first_test_loss"]["value"]:
                panels[0].plot(loss, y, "o", ms=4, color=colour, markerfacecolor="white")
                panels[1].plot(loss - base[seed], y, "o", ms=4, color=colour, markerfacecolor="white")
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(3))
    panels[0].set_yticks(range(len(order)), labels)
    panels[0].set(xlabel="at the end (nats/token)", ylabel="condition")
    panels[1].axvline(0, color=GREY, lw=1, ls=":")
    panels[1].set_xlabel("less the base")
    best = [CONDITIONS[name].label for name in order if conditions[name]["attends"]][-1:]
    return headline(
        figure,
        f"Of those that attend, test loss ends lowest with {best[0]}" if best else "No condition attends",
        f"Means over seeds and their 95 % intervals, each condition at the best of three rates. Base: "
        f"{CONDITIONS[BASE].label}. *: not shown to attend; its seeds.",
        "A row for each condition, by the median loss; left the loss, right its difference of pairs of one seed.",
    )


def sizes(conditions: dict[str, Any]) -> Figure:
    """For each size and text, by scaling: σ of the first logits, last test loss, and its difference to 1/√d."""
    names = [size for size in SIZES if size in conditions]
    figure, panels = subplots(0.25, 1, 3, inches=0.36 * len(names), sharey=True)
    kinds = {LABELS[name]: SCALINGS[name] for name in OWN_FIRST} | {WITHOUT_ATTENTION[0]: BLACK}
    for y, size in enumerate(reversed(names)):
        for name in [name for name in OF_SIZES[size] if name in conditions]:
            found, kind = conditions[name], CONDITIONS[name].label.split(", ")[-1]
            for axes, quantity in zip(panels, ("initial_logit_std", "last_test_loss", "added_loss"), strict=True):
                if quantity in found and not (quantity == "added_loss" and name == size):
                    _estimate(axes, found, quantity, y + 0.16 * (list(kinds).index(kind) - 1), kinds[kind], 4)
    panels[0].set_yticks(range(len(names)), [SIZES[size][0] for size in reversed(names)])
    panels[0].set(xscale="log", xlabel="σ of first logits", ylim=(-0.6, len(names) + 2.0))
    panels[1].set_xlabel("test loss")
    panels[2].set_xlabel("less 1/√d's")
    panels[2].axvline(0, color=GREY, lw=1, ls=":")
    key(panels[2], kinds)
    return headline(
        figure,
        "Scaling at other sizes, with longer contexts, and on a second text",
        "One block, 501 steps; losses in nats/token, means over seeds and 95 % intervals, each at the best of three "
        "rates. Hollow: not shown to attend.",
        "A row for each size or text; first logits, last test loss, and its difference to that with 1/√d.",
    )


def curves(runs: pd.DataFrame, conditions: list[str]) -> Figure:
    """Test loss over steps: a panel for each start in the first row, and others for single changes below."""
    starts = {words: [f"{scaling}{start}" for scaling in SCALINGS] for start, (words, _) in STARTS.items()}
    single = {title: (BASE, *names) for title, names in SINGLE.items()}
    others = set(conditions) - {BASE}
    rows = [{title: names for title, names in row.items() if others & set(names)} for row in (starts, single)]
    rows = [row for row in rows if row]
    low = runs.loc[runs["quantity"] == "test_loss", "value"].min()
    of_base = chosen(runs, BASE, "test_loss")
    high = of_base.loc[of_base["step"] == 0, "value"].max()
    figure = new_figure(0.475 * len(rows))
    for part, row in zip(figure.subfigures(len(rows), 1, squeeze=False).flat, rows, strict=True):
        panels = part.subplots(1, len(row), sharey=True, squeeze=False)
        for axes, (title, names) in zip(panels.flat, row.items(), strict=True):
            last = []
            for name in [name for name in names if name in conditions]:
                label = CONDITIONS[name].label if name in CHANGES else CONDITIONS[name].label.split(", ")[0]
                by_seed = chosen(runs, name, "test_loss").pivot(index="step", columns="seed", values="value")
                axes.plot(by_seed.index, by_seed.to_numpy(), color=COLOURS[name], lw=0.8)
                last.append((-float(by_seed.iloc[-1].median()), label, COLOURS[name]))
            axes.set(title=title, xlabel="step (updates)", ylim=(low - 0.2, high + 0.4 * (high - low)))
            key(axes, {label: colour for _, label, colour in sorted(last)})
            for name in axes.texts:
                name.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # where a line passes behind it
        panels[0, 0].set_ylabel(LOSS)
    return headline(
        figure,
        "Test loss over training, by start and scaling, and with one change",
        "A line for each seed, cut off where it breaks down. In each panel, in order of the last loss.",
        "Panels for each start with a line for each scaling, and two with other changes.",
    )


def layernorm(runs: pd.DataFrame) -> Figure:
    """Gradients and activations by block, with and without LayerNorm, a line for each seed."""
    figure, panels = subplots(0.85, 2, 2)
    shown = (
        ("gradient_log_mean", "mean ln ‖gradient‖"),
        ("gradient_log_jump", "σ of its change by step"),
        ("residual_rms", "RMS entering a block"),
        ("input_rms", "RMS attention sees"),
    )
    names = {BASE: "with LayerNorm", NO_LAYERNORM: "without"}
    for axes, (quantity, label) in zip(panels.flat, shown, strict=True):
        for name in names:
            found = chosen(runs, name, quantity)
            found = found[found["step"] == found.groupby("seed")["step"].transform("max")]
            by_seed = found.pivot(index="block", columns="seed", values="value")
            axes.plot(by_seed.index, by_seed.to_numpy(), color=COLOURS[name], lw=0.8)
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if "rms" in quantity:
            axes.set_yscale("log")
    for axes in panels[1]:
        axes.set_xlabel("block")
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(low, high + 0.35 * (high - low))
    key(panels[0, 0], {label: COLOURS[name] for name, label in names.items()}, "upper left")
    return headline(
        figure,
        "What LayerNorm does to gradients (above) and activations (below)",
        "A line for each seed. RMS: at the end of training.",
        "Logarithm of the gradient's norm, how it jumps from step to step, the size of what enters each block "
        "and of what its attention sees, by block.",
    )
