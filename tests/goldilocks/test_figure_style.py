"""What every figure has in common: labels, sizes of texts, texts apart, colours that anyone can tell apart."""

from functools import partial
from itertools import combinations
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from last_commit import params_text
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from ruamel.yaml import YAML
from test_figures import NAMES, dynamics

from goldilocks.ablations.conditions import BASE, GRID, MAIN
from goldilocks.core import files, tables
from goldilocks.plotting import batch, model5, palette, style
from goldilocks.plotting.ablations import COLOURS, SINGLE
from goldilocks.plotting.ablations import figures as of_ablations
from stages import figures, summarize_ablations

KEPT = Path("reports/paper/tables")
LEAST_SIZE, MOST_ENTRIES = 7, 4
TOUCHING = 0.5  # points that two boxes may share, which have air around their letters


def texts(figure):
    """Every text that is drawn."""
    with mock.patch.object(Text, "draw", autospec=True) as draw:
        figure.draw_without_rendering()
    called = [call.args[0] for call in draw.call_args_list]
    return [text for text in dict.fromkeys(called) if text.get_visible() and text.get_text().strip()]


def labels_missing(figure):
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.axison]
    for axes in shown:
        bar = axes.get_label() == "<colorbar>"
        place = axes.get_subplotspec()
        edges = (place is None or place.is_last_row(), place is None or place.is_first_col())
        for name, axis, edge in zip("xy", (axes.xaxis, axes.yaxis), edges, strict=True):
            ticks = [tick.get_text() for tick in axis.get_ticklabels()]
            named = any(text[:1].isalpha() for text in ticks)  # names of rows say what they are
            if edge and not bar and not named and not axis.get_label_text():
                yield f"no label on {name} of {axes.get_title() or axes}"


def troubles(figure):
    """What is wrong with a figure, in words."""
    for axes in figure.axes:
        batch.prepare(axes)
    renderer, point, drawn, boxes = FigureCanvasAgg(figure).get_renderer(), figure.dpi / 72, texts(figure), []
    found = list(labels_missing(figure))
    found += ["too long a legend" for legend in figure.findobj(Legend) if len(legend.get_texts()) > MOST_ENTRIES]
    for text in drawn:
        box, said = text.get_window_extent(renderer), " ".join(text.get_text().split())
        if text.get_fontsize() < LEAST_SIZE:
            found.append(f"small: {said}")
        if (box.min < -point).any() or (box.max > figure.bbox.max + point).any():
            found.append(f"cut off: {said}")
        boxes.append((said, box))
    for (one, a), (other, b) in combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > TOUCHING * point and down > TOUCHING * point:
            found.append(f"one over the other: {one} | {other}")
    return found


def wrong(drawn):
    with style.applied():
        return {name: found for name, draw in drawn.items() if (found := troubles(draw()))}


@pytest.mark.slow
def test_small_figures_are_sound(smoke, monkeypatch):
    monkeypatch.chdir(smoke.folder)
    drawn = figures.drawings(Path("data/model5/seed-0"))
    assert set(drawn) == NAMES
    assert not wrong(drawn)


@pytest.mark.parametrize("few", [pytest.param(False, marks=pytest.mark.slow), True], ids=["all", "three"])
def test_figures_of_the_ablations_are_sound(committed, monkeypatch, few):
    monkeypatch.chdir(committed)
    found = files.read_json(files.ABLATIONS / "metrics.json")
    names = ["scaled", "scaled_wide_qk", "no_layernorm"] if few else list(found["conditions"])
    runs, _, _ = summarize_ablations.gather(summarize_ablations.Settings(conditions=names, seeds=[0, 1, 2]))
    found["conditions"] = {name: found["conditions"][name] for name in names}
    drawn = of_ablations(runs, found)
    assert "layernorm" in drawn
    assert not wrong(drawn)
    assert COLOURS.keys() == MAIN.keys()


@pytest.mark.slow
def test_figures_of_twelve_blocks_and_heads_are_sound(committed, monkeypatch):
    monkeypatch.chdir(committed)
    kept = tables.read(KEPT / "dynamics.parquet", "dynamics")
    heads = pd.read_parquet(KEPT / "model5/seed-0/attention.parquet")
    histograms = pd.read_parquet(KEPT / "model5/seed-0/histograms.parquet")
    assert kept["block"].max() == heads["block"].max() == heads["head"].max() == 11
    assert not wrong(
        {
            "losses": lambda: model5.losses(kept, 10.8),
            "std": lambda: model5.by_block(kept, *model5.BY_BLOCK["std_by_block"]),
            "updates": lambda: model5.by_block(kept, *model5.BY_BLOCK["updates_by_block"]),
            "parts": lambda: model5.std_by_part(kept),
            "heads": lambda: model5.by_head(heads, "largest_logit", "largest |logit|", False),
            "histograms": lambda: model5.histograms(histograms, 0.02),
        }
    )


def test_of_many_blocks_as_many_are_named_as_fit():
    draw = partial(model5.by_block, dynamics(48), "Title", {"std_q": "y"})
    assert not wrong({"many": draw})
    with style.applied():
        named = [text.get_text() for text in draw().axes[0].texts]
    assert 8 <= len(named) < 20
    assert "block 0" in named


def broken(**changes):
    """A sound figure but for calls of methods of its second panel."""
    figure = model5.by_block(dynamics(), "Title", {"std_q": "first", "std_k": "second"})
    for name, change in changes.items():
        getattr(figure.axes[1], name)(**change)
    return figure


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"set_xlabel": {"xlabel": ""}}, "no label on x of "),
        ({"set_ylabel": {"ylabel": ""}}, "no label on y of "),
        ({"text": {"x": 50, "y": 50, "s": "tiny", "fontsize": 6.5}}, "small: tiny"),
        ({"annotate": {"text": "here", "xy": (0.99, 0.5), "xycoords": "figure fraction", "in_layout": False}},
         "cut off: here"),
        ({"set_xticks": {"ticks": range(0, 100, 3), "labels": [1000] * 34}}, "one over the other: 1000 | 1000"),
        ({"legend": {"handles": [Line2D([], [], label=name) for name in "abcde"]}}, "too long a legend"),
    ],
)  # fmt: skip
def test_a_figure_that_is_not_sound_is_told(changes, told):
    with style.applied():
        found = troubles(broken(**changes))
    assert [one for one in found if one.startswith(told)] if told else not found, found


# Amounts of light that eyes without one kind of cone see instead (Machado, Oliveira and Fernandes, 2009).
SIGHT = {
    "usual": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])
APART = 20  # in CIELAB; 2.3 is what can just be told apart side by side, thin lines need far more


def cielab(colour, sight):
    light = np.clip(np.array(SIGHT[sight]) @ style.srgb_to_linear(np.array(to_rgb(colour))), 0, 1)
    ratio = XYZ @ light / XYZ.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def too_near(colours):
    """Pairs that are hard to tell apart: for whom, which, and their distance."""
    return [
        (sight, a, b, round(distance))
        for sight in SIGHT
        for a, b in combinations(dict.fromkeys(colours), 2)
        if (distance := float(np.linalg.norm(cielab(a, sight) - cielab(b, sight)))) < APART
    ]


def test_distances_of_colours_are_those_of_cielab():
    assert cielab("#ffffff", "usual") == pytest.approx([100, 0, 0], abs=0.01)
    assert cielab("#ff0000", "usual") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert ("deuteranopia", "#ff0000", "#8f7c00") in [found[:3] for found in too_near(["#ff0000", "#8f7c00"])]


TOGETHER = [  # in one figure
    *([*of.values(), palette.BLACK] for of in (palette.SCALINGS, palette.MATRICES, palette.FORMATS)),
    *(list(of.values()) for of in (palette.KINDS, palette.LOSSES, palette.PLACES)),
    [*palette.CHANGES.values(), COLOURS[BASE]], [*palette.ENDS, palette.BLACK],
    *([one, palette.GREY, palette.BLUE] for one in (palette.RED, palette.INDIGO)),
]  # fmt: skip


@pytest.mark.parametrize("colours", TOGETHER)
def test_colours_that_stand_beside_each_other_can_be_told_apart_by_anyone(colours):
    assert not too_near(colours)


def test_every_single_change_has_its_panel():
    compared = YAML(typ="safe").load(params_text())["ablations"]["conditions"]
    assert {name for of_panel in SINGLE.values() for name in of_panel} >= (set(compared) & set(MAIN)) - set(GRID)


@pytest.mark.parametrize("sight", SIGHT)
def test_ordered_colours_get_lighter_for_anyone(sight):
    lightness = [cielab(colour, sight)[0] for colour in style.ordered_colours(12)]
    assert (np.diff(lightness) > 2).all()


@pytest.mark.parametrize("colour", [palette.ORANGE, palette.SKY, palette.BLACK, "#ffff00", *style.ordered_colours(3)])
def test_text_is_dark_enough_on_white(colour):
    assert 1.05 / (style.luminance(np.array(style.darken_for_text(colour))) + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("heights", "moved"),
    [
        ([0.1, 0.5], [0.1, 0.5]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.0, 0.0], [0.0, 0.1]),
        ([0.2, 1.0, 1.0], [0.2, 0.9, 1.0]),
        ([0.5, 0.5, 0.55], [0.41667, 0.51667, 0.61667]),
    ],
)
def test_names_are_pushed_apart_as_little_as_possible(heights, moved):
    assert style.space_apart(np.array(heights), 0.1) == pytest.approx(moved, abs=1e-4)
