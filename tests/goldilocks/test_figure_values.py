"""What figures draw is what the tables hold: dots, lines, bands, bars and marks."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from goldilocks.core import arrays, tables
from goldilocks.plotting import ablations, goldilocks, logits, model5, norms, palette, scaling, style
from goldilocks.softmax.scalings import EXPONENTS


@pytest.fixture
def table(smoke):
    return lambda path: tables.read(smoke.folder / "data" / f"{path}.parquet", path.split("/")[-1])


@pytest.fixture(autouse=True)
def styled():
    with style.applied():
        yield


def outline(axes, i=0):
    """The corners of a filled band."""
    return {tuple(corner) for corner in axes.collections[i].get_paths()[0].vertices}


def ends(band, low, high):
    """The corners that a band between two columns has."""
    return {*zip(band, low, strict=True), *zip(band, high, strict=True)}


def test_the_three_rows_of_one_pair_hold_every_entry(smoke):
    pair = arrays.read(smoke.folder / "data/matrices/experiment-1.safetensors")
    k, q = (pair[name] for name in sorted(pair))
    (axes,) = scaling.one_pair(q, k, 7).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["QKᵀ", "K", "Q"], "from below"
    told = [text.get_text() for text in axes.texts]
    for row, (dots, entries) in enumerate(zip(axes.lines, (q @ k.T, k, q), strict=True)):
        np.testing.assert_array_equal(dots.get_xdata(), entries.ravel())
        assert (np.abs(dots.get_ydata() - row) < 0.5).all(), "in its own row"
        assert told[row] == f"σ = {np.std(entries):.2f}"


def test_the_sweep(table):
    sweep = table("sweep")
    theory, dots = scaling.sweep(sweep, 7).axes[0].lines
    np.testing.assert_allclose(theory.get_xydata(), np.stack([sweep["dimension"], np.sqrt(sweep["dimension"])], 1))
    np.testing.assert_array_equal(dots.get_xydata(), sweep[["dimension", "sigma_single"]])
    (axes,) = scaling.sweep_ratio(sweep, 7).axes
    one, single, mean = axes.lines
    assert set(one.get_ydata()) == {1}
    np.testing.assert_allclose(single.get_ydata(), sweep["sigma_single"] / np.sqrt(sweep["dimension"]))
    np.testing.assert_array_equal(mean.get_xydata(), sweep[["dimension", "ratio"]])
    assert ends(sweep["dimension"], sweep["ratio_low"], sweep["ratio_high"]) <= outline(axes)


def test_softmax_of_every_entry(table):
    entries = table("softmax")
    panels = scaling.softmax(entries, 7).axes
    for axes, (quantity, scaled) in zip(
        panels, [(q, s) for q in ("probability", "surprisal") for s in ("unscaled", "scaled")], strict=True
    ):
        for line, over in zip(axes.lines, ("all", "rows"), strict=True):
            chosen = entries[(entries["scaling"] == scaled) & (entries["over"] == over)]
            np.testing.assert_array_equal(line.get_xydata(), chosen[["logit", quantity]])


def test_the_zone_is_shaded_from_its_lower_to_its_upper_edge(table):
    zone = table("goldilocks_zone")
    panels = iter(goldilocks.zones(zone, 7, 0.5, 2.0).axes)
    for (_, _), part in zone.groupby(["length", "correlation"], sort=False):
        axes = next(panels)
        upper = part[["lower", "upper"]].max(axis=1)
        assert ends(part["dimension"], part["lower"], upper) <= outline(axes)
        for line, exponent in zip(axes.lines, EXPONENTS.values(), strict=False):
            np.testing.assert_allclose(line.get_ydata(), line.get_xdata() ** -exponent)


def test_losses_are_means_with_bands_beside_what_counting_reaches(table):
    dynamics = table("dynamics")
    (axes,) = model5.losses(dynamics, 6.5, 7).axes
    rules = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    counted = [dynamics[dynamics["quantity"] == f"{name}_loss"]["mean"].item() for name in ("unigram", "bigram")]
    assert rules == [6.5, *counted]
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    for i, (line, name) in enumerate(zip(lines, palette.LOSSES, strict=True)):
        part = dynamics[dynamics["quantity"] == f"{name}_loss"].sort_values("step")
        np.testing.assert_array_equal(line.get_xydata(), part[["step", "mean"]])
        assert ends(part["step"], part["low"], part["high"]) <= outline(axes, i)


def test_quantities_by_block_are_means_with_bands(table):
    dynamics = table("dynamics")
    (axes,) = model5.by_block(dynamics, {"std": "σ"}, "σ", 7).axes
    std = dynamics[dynamics["quantity"] == "std"]
    for line, (block, part) in zip(axes.lines, std.groupby("block"), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), part.sort_values("step")[["step", "mean"]])
        assert ends(part["step"], part["low"], part["high"]) <= outline(axes, block)


def test_histograms_of_weights_have_the_tables_counts(smoke):
    table = tables.read(smoke.folder / "data/model5/seed-0/histograms.parquet", "histograms")
    axes = model5.histograms(table, 0.02, 7).axes[1]
    inner = table[(table["part"] == "qkv") & (table["block"] == 1) & np.isfinite(table["left"] + table["right"])]
    first, *_, last = axes.lines
    for line, step in ((first, inner["step"].min()), (last, inner["step"].max())):
        np.testing.assert_array_equal(line.get_ydata(), inner[inner["step"] == step]["count"])
        np.testing.assert_allclose(line.get_xdata(), inner[inner["step"] == step][["left", "right"]].mean(axis=1))


def test_logits_are_densities_beside_the_normal_one(smoke):
    table = tables.read(smoke.folder / "data/model5/seed-0/logit_histograms.parquet", "logit_histograms")
    panels = [axes for axes in logits.distribution(table, 7).axes if axes.get_visible()]
    for axes, (block, of_block) in zip(panels, table.groupby("block"), strict=True):
        assert axes.get_title() == f"block {block}"
        *steps, normal = axes.lines
        for line, step in zip(steps, (table["step"].min(), table["step"].max()), strict=True):
            bins = of_block[of_block["step"] == step]
            share = bins["count"] / bins["count"].sum()
            density = (share / (bins["right"] - bins["left"]))[np.isfinite(bins["left"] + bins["right"])]
            np.testing.assert_allclose(line.get_ydata(), density[density > 0])
            middle = bins[["left", "right"]].mean(axis=1)[density.index]
            np.testing.assert_allclose(line.get_xdata(), middle[density > 0])
        np.testing.assert_allclose(normal.get_xdata(), middle)
        np.testing.assert_allclose(normal.get_ydata(), stats.norm.pdf(middle))


def test_logits_by_scaling_are_means_over_blocks(table):
    of = table("logits")
    for axes, quantity in zip(logits.by_scaling(of, 7).axes, logits.PANELS, strict=True):
        for line, scaled in zip(axes.lines, palette.SCALINGS, strict=True):
            chosen = of[(of["quantity"] == quantity) & (of["scaling"] == scaled)]
            np.testing.assert_allclose(line.get_ydata(), chosen.groupby("step")["mean"].mean())


def test_norms_by_block_are_medians_with_the_range_of_90_percent(table):
    layernorm = table("layernorm")
    axes = norms.by_block(layernorm, 7).axes[0]
    gamma = layernorm[layernorm["kind"] == "gamma"]
    for line, bars, (_, part) in zip(axes.lines, axes.collections, gamma.groupby("place", sort=False), strict=True):
        by_block = part.groupby("block")["value"].quantile([0.05, 0.5, 0.95]).unstack()
        np.testing.assert_allclose(line.get_ydata(), by_block[0.5])
        np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], by_block[[0.05, 0.95]])


def estimate(value, reach):
    return {"value": value, "low": value - reach, "high": value + reach, "n": 3}


def test_ablations_have_their_interval_or_their_seeds_in_order_of_the_median():
    losses = {"scaled": [4.1, 4.2, 4.3], "unscaled": [4.5, 4.6, 4.7], "no_layernorm": [4.0, 4.1, 99.0]}
    conditions = {
        name: {
            "attends": name != "no_layernorm", "diverged": 0, "first_test_loss": estimate(8.3, 0),
            "last_test_loss": estimate(np.mean(of), 0.1), "added_loss": estimate(np.mean(of) - 4.2, 0.05),
            "by_seed": {"last_test_loss": {f"seed_{i}": loss for i, loss in enumerate(of)}},
        }
        for name, of in losses.items()
    }  # fmt: skip
    left, right = ablations.test_loss(conditions, 7).axes
    rows = [label.get_text() for label in left.get_yticklabels()]
    assert rows == ["no scaling, start 0.02", "1/√d, start 0.02", "no LayerNorm (1 broke down) *"], "from below"
    marks = [(*line.get_xydata()[0], line.get_markerfacecolor()) for line in left.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([(x, y) for x, y, face in marks if face != "white"], [(4.6, 0), (4.2, 1)])
    assert [(x, y) for x, y, face in marks if face == "white"] == [(4.0, 2), (4.1, 2)], "seed 2 broke down"
    intervals = [line.get_xdata() for line in right.lines if line.get_marker() != "o" and line.get_linestyle() == "-"]
    np.testing.assert_allclose(intervals, [[0.35, 0.45], [-0.05, 0.05]])
    differences = [line.get_xdata()[0] for line in right.lines if line.get_markerfacecolor() == "white"]
    assert differences == pytest.approx([4.0 - 4.1, 4.1 - 4.2]), "of pairs of one seed"


def test_curves_have_a_line_for_each_seed_starts_above_single_changes():
    conditions = {"scaled": 1, "unscaled": 2, "untied": 3}
    runs = pd.DataFrame(
        {"condition": name, "seed": seed, "quantity": "test_loss", "step": step, "block": -1, "value": value}
        for name, factor in conditions.items()
        for seed in (0, 1)
        for step, value in ((0, 9.0), (10, factor + 0.1 * seed))
    )
    start, change = ablations.curves(runs, list(conditions), 7).axes
    for axes, shown in ((start, ["scaled", "unscaled"]), (change, ["scaled", "untied"])):
        drawn = {(line.get_color(), tuple(line.get_ydata())) for line in axes.lines}
        expected = {(ablations.COLOURS[name], (9.0, conditions[name] + 0.1 * i)) for name in shown for i in (0, 1)}
        assert drawn == expected, axes.get_title()
    assert start.figure.bbox.y0 > change.figure.bbox.y0, "a row of its own"


def test_gradients_and_activations_with_and_without_layernorm_are_those_of_each_seeds_last_look():
    panels = ["gradient_log_mean", "gradient_log_jump", "residual_rms", "input_rms"]
    last = {0: 10, 1: 5}  # seed 1 ends sooner, since it breaks down
    runs = pd.DataFrame(
        {"condition": name, "seed": seed, "quantity": quantity, "step": step, "block": block,
         "value": 1 + factor * (1000 * panels.index(quantity) + 100 * seed + 10 * block + step)}
        for name, factor in (("scaled", 1.0), ("no_layernorm", 2.0))
        for quantity in panels for seed in last for step in (0, last[seed]) for block in range(3)
    )  # fmt: skip
    for axes, quantity in zip(ablations.layernorm(runs, 7).axes, panels, strict=True):
        drawn = {(line.get_color(), *map(tuple, line.get_xydata())) for line in axes.lines}
        expected = {
            (ablations.COLOURS[name], *part[["block", "value"]].astype(float).itertuples(index=False, name=None))
            for (name, seed), part in runs[runs["quantity"] == quantity].groupby(["condition", "seed"])
            for part in [part[part["step"] == last[seed]].sort_values("block")]
        }
        assert drawn == expected, quantity
