"""What every figure has in common: labels, sizes of texts, texts apart, colours that anyone can tell apart."""

from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import troubles
from last_commit import params_text
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from ruamel.yaml import YAML
from test_figures import NAMES, dynamics

from goldilocks.ablations.conditions import BASE, GRID, MAIN
from goldilocks.core import files, tables
from goldilocks.plotting import model5, palette, style
from goldilocks.plotting.ablations import COLOURS, SINGLE
from goldilocks.plotting.ablations import figures as of_ablations
from stages import figures, summarize_ablations

KEPT = Path("reports/paper/tables")


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
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
APART = 20  # in CIELAB; 2.3 is what can just be told apart side by side, thin lines need far more


def cielab(colour, sight):
    light = np.clip(SIGHT[sight] @ style.srgb_to_linear(np.array(to_rgb(colour))), 0, 1)
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


@pytest.mark.parametrize("colours", palette.TOGETHER)
def test_colours_that_stand_beside_each_other_can_be_told_apart_by_anyone(colours):
    assert not too_near(colours)


def test_every_set_of_colours_is_among_those():
    compared = YAML(typ="safe").load(params_text())["ablations"]["conditions"]
    single = [{name: COLOURS[name] for name in (BASE, *of_panel)} for of_panel in SINGLE.values()]
    assert {name for panel in single for name in panel} >= {name for name in compared if name in MAIN} - set(GRID)
    sets = [palette.SCALINGS, palette.MATRICES, palette.KINDS, palette.FORMATS, palette.LOSSES, palette.PLACES, *single]
    together = [set(some) for some in palette.TOGETHER]
    for colours in (*(each.values() for each in sets), palette.ENDS):
        assert any(set(colours) <= some for some in together), colours


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
