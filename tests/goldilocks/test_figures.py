"""What figures draw is what the tables hold."""

import contextlib
import functools
from collections import defaultdict
from itertools import product

import numpy as np
import pandas as pd
import pytest
from measured import estimate
from scipy import stats

from goldilocks.core import arrays, tables
from goldilocks.plotting import ablations, batch, formats, goldilocks, model5, norms, palette, style
from goldilocks.softmax.scalings import EXPONENTS, FACTORS
from stages import figures
from stages import formats as stage

NAMES = {
    "one_pair", "sweep", "sweep_ratio", "softmax", "goldilocks_map", "goldilocks_zone", "jacobians", "two_needs",
    "formats",
    "first_failures", "layernorm_histograms", "layernorm_by_block", "layernorm_by_model", "losses", "std_by_block",
    "std_by_part", "kurtosis_by_block", "norms_by_block", "cosine_to_initial", "updates_by_block",
    "attention_entropy", "entropy_by_head", "logits_by_head", "qkv_histograms", "logits_by_scaling",
    "logit_distribution",
}  # fmt: skip


@pytest.fixture(scope="module")
def axes_of(smoke):
    """The axes of a figure of the small run, by its name."""
    with contextlib.chdir(smoke.folder):
        drawn = figures.drawings(smoke.folder / "data/model5/seed-0")
    return functools.cache(lambda name: drawn[name]().axes)


@pytest.fixture(scope="module")
def table(smoke):
    return lambda path: tables.read(smoke.folder / "data" / f"{path}.parquet", path.split("/")[-1])


@pytest.fixture(autouse=True)
def styled():
    with style.applied():
        yield


def test_every_figure_is_drawn_without_date_or_path(smoke):
    found = {path.stem: path.read_text("utf-8") for path in (smoke.folder / "reports" / "figures").iterdir()}
    assert set(found) == NAMES
    for name, svg in found.items():
        assert svg.startswith("<?xml"), name
        assert "<dc:date>" not in svg, name
        assert str(smoke.folder) not in svg, name
        assert len(svg) < 100_000, name


def outline(axes):
    """The corners of all filled bands."""
    return {tuple(corner) for band in axes.collections for path in band.get_paths() for corner in path.vertices}


def points(*columns):
    return tuple(zip(*(np.nan_to_num(np.asarray(column, float), nan=-1) for column in columns), strict=True))


HEADS, BINS = "data/model5/seed-0/attention", "data/model5/seed-0/histograms"
PARTS = {f"std_{name}": colour for name, colour in palette.MATRICES.items()}
LOSS_COLOURS = {f"{name}_loss": colour for name, colour in palette.LOSSES.items()}
OF_BLOCKS = [(name, i, quantity) for name, (_, of, *_) in model5.BY_BLOCK.items() for i, quantity in enumerate(of)]
# figure, panel, table, its rows, columns that tell lines apart, x, y, and what is known of the look of the lines
LINES = [
    ("sweep", 0, "sweep", "", [], "dimension", "sqrt_dimension", palette.BLACK),
    ("sweep", 0, "sweep", "", [], "dimension", "sigma_single", palette.RED),
    ("sweep_ratio", 0, "sweep", "", [], "dimension", "sigma_single / sqrt_dimension", palette.RED),
    ("sweep_ratio", 0, "sweep", "", [], "dimension", "ratio", palette.BLUE),
    *(("softmax", 2 * row + column, "softmax", f"scaling == '{scaling}'", ["over"], "logit", quantity,
       {"all": palette.GREY, "rows": palette.SCALINGS[scaling]})
      for row, quantity in enumerate(("probability", "surprisal"))
      for column, scaling in enumerate(("unscaled", "scaled"))),
    *(("two_needs", i, "goldilocks", f"length == 32 and correlation == 0 and exponent == {EXPONENTS[name]}", [],
       "dimension", quantity, colour)
      for i, quantity in enumerate(("relative_gradient", "discrimination"))
      for name, colour in palette.SCALINGS.items()),
    *(("formats", 2 * row + column, "formats",
       f"keys == 'independent' and scaling == '{scaling}' and softmax == '{way}'", ["format"], "dimension", quantity,
       {name: (colour, line) for name, colour in palette.FORMATS.items()})
      for row, quantity in enumerate(formats.QUANTITIES)
      for column, scaling in enumerate(formats.SCALINGS)
      for way, line in formats.STYLES.items()),
    ("losses", 0, "dynamics", f"quantity in {list(LOSS_COLOURS)}", ["quantity"], "step", "mean", LOSS_COLOURS),
    *((name, i, "dynamics", f"quantity == '{quantity}'", ["block"], "step", "mean", None)
      for name, i, quantity in OF_BLOCKS),
    ("std_by_part", 1, "dynamics", f"block == 1 and quantity in {list(PARTS)}", ["quantity"], "step", "mean", PARTS),
    *((f"{name}_by_head", 1, HEADS, "block == 1 and scaling == 'scaled'", ["head"], "step", quantity, None)
      for name, quantity in (("entropy", "normalised_entropy"), ("logits", "largest_logit"))),
    ("qkv_histograms", 1, BINS,
     "part == 'qkv' and block == 1 and abs(left * right) < inf and step in [step.min(), step.max()]", ["step"],
     "(left + right) / 2", "count", None),
]  # fmt: skip


@pytest.mark.parametrize(("figure", "panel", "path", "where", "by", "x", "y", "look"), LINES)
def test_lines_and_their_bands_are_the_tables(axes_of, table, figure, panel, path, where, by, x, y, look):
    axes = axes_of(figure)[panel]
    rows = table(path.removeprefix("data/")).assign(inf=np.inf)
    rows = rows.query(where) if where else rows
    groups = rows.groupby(by, observed=True) if by else [((None,), rows)]
    drawn = defaultdict(set)
    for line in axes.lines:
        drawn[points(*line.get_data())] |= {None, line.get_color(), (line.get_color(), line.get_linestyle())}
    for (key,), group in groups:
        assert (look[key] if isinstance(look, dict) else look) in drawn[points(group.eval(x), group.eval(y))]
        low, high = ("low", "high") if y == "mean" else (f"{y}_low", f"{y}_high")
        if low in group and figure != "two_needs":
            assert {*points(group[x], group[low]), *points(group[x], group[high])} <= outline(axes)


def test_the_three_rows_of_one_pair_hold_every_entry(axes_of, smoke):
    pair = arrays.read(smoke.folder / "data/matrices/experiment-1.safetensors")
    k, q = (pair[name] for name in sorted(pair))
    (axes,) = axes_of("one_pair")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["QKᵀ", "K", "Q"], "from below"
    for row, (dots, entries) in enumerate(zip(axes.lines, (q @ k.T, k, q), strict=True)):
        np.testing.assert_array_equal(dots.get_xdata(), entries.ravel())
        assert (np.abs(dots.get_ydata() - row) < 0.5).all(), "in its own row"
        assert axes.texts[row].get_text() == f"σ = {np.std(entries):.2f}"


def test_the_zone_is_shaded_from_its_lower_to_its_upper_edge(axes_of, table):
    parts = table("goldilocks_zone").groupby(["length", "correlation"], sort=False)
    for axes, (_, part) in zip(axes_of("goldilocks_zone"), parts, strict=True):
        upper = part[["lower", "upper"]].max(axis=1)
        assert {*points(part["dimension"], part["lower"]), *points(part["dimension"], upper)} <= outline(axes)
        for line, exponent in zip(axes.lines, EXPONENTS.values(), strict=False):
            np.testing.assert_allclose(line.get_ydata(), line.get_xdata() ** -exponent)


def test_what_the_zone_asks_is_a_rule_and_the_title_names_the_scalings_that_have_both(table):
    cells = table("goldilocks")
    figure = goldilocks.two_needs(cells, 0.5, 2.0)
    assert [set(axes.lines[0].get_ydata()) for axes in figure.axes] == [{0.5}, {2.0}]
    shown = cells[(cells["length"] == 32) & (cells["correlation"] == 0)]
    held = ((shown["relative_gradient"] >= 0.5) & (shown["discrimination"] >= 2)).groupby(shown["exponent"]).all()
    named = [factor for name, factor in FACTORS.items() if held[EXPONENTS[name]]]
    assert figure.get_suptitle().endswith(f"{'only ' * (len(named) == 1)}{' and '.join(named) or 'no scaling'}")


def test_jacobians_have_a_rule_at_a_half_and_the_articles_point(table):
    cells = table("goldilocks")
    (axes,) = goldilocks.jacobians(cells, 50, 1.11).axes
    one, half, *lines, point = axes.lines
    assert (set(one.get_ydata()), set(half.get_ydata())) == ({1}, {0.5})
    assert axes.get_yscale() == "log"
    assert "0.5" in [tick.get_text() for tick in axes.get_yticklabels()]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([50], [1.11])
    assert "◆ the articles' d = 50: 1.11" in [text.get_text() for text in axes.texts]
    norms_of = cells[cells["correlation"] == 0].pivot(
        index="dimension", columns=["exponent", "length"], values="jacobian_norm"
    )
    np.testing.assert_allclose([line.get_ydata() for line in lines], (norms_of[0.0] / norms_of[0.5]).T)


def test_losses_stand_beside_what_counting_reaches(table):
    dynamics = table("dynamics")
    (axes,) = model5.losses(dynamics, 6.5).axes
    rules = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    counted = [dynamics[dynamics["quantity"] == f"{name}_loss"]["mean"].item() for name in ("unigram", "bigram")]
    assert rules == [6.5, *counted]


def test_logits_are_densities_beside_the_normal_one(axes_of, table):
    logit_histograms = table("model5/seed-0/logit_histograms")
    panels = [axes for axes in axes_of("logit_distribution") if axes.get_visible()]
    for axes, (block, of_block) in zip(panels, logit_histograms.groupby("block"), strict=True):
        assert axes.get_title() == f"block {block}"
        *steps, normal = axes.lines
        for line, step in zip(steps, (of_block["step"].min(), of_block["step"].max()), strict=True):
            bins = of_block[of_block["step"] == step]
            share = bins["count"] / bins["count"].sum()
            density = (share / (bins["right"] - bins["left"]))[np.isfinite(bins["left"] + bins["right"])]
            np.testing.assert_allclose(line.get_ydata(), density[density > 0])
            middle = bins[["left", "right"]].mean(axis=1)[density.index]
            np.testing.assert_allclose(line.get_xdata(), middle[density > 0])
        np.testing.assert_allclose(normal.get_xdata(), middle)
        np.testing.assert_allclose(normal.get_ydata(), stats.norm.pdf(middle))


def test_logits_by_scaling_are_means_over_blocks(axes_of, table):
    of = table("logits")
    for axes, quantity in zip(axes_of("logits_by_scaling"), model5.BY_SCALING, strict=True):
        for line, scaled in zip(axes.lines, palette.SCALINGS, strict=True):
            chosen = of[(of["quantity"] == quantity) & (of["scaling"] == scaled)]
            np.testing.assert_allclose(line.get_ydata(), chosen.groupby("step")["mean"].mean())


def test_norms_by_block_are_medians_with_the_range_of_90_percent(axes_of, table):
    axes, gamma = axes_of("layernorm_by_block")[0], table("layernorm").query("kind == 'gamma'")
    for line, bars, (_, part) in zip(axes.lines, axes.collections, gamma.groupby("place", sort=False), strict=True):
        by_block = part.groupby("block")["value"].quantile([0.05, 0.5, 0.95]).unstack()
        np.testing.assert_allclose(line.get_ydata(), by_block[0.5])
        np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], by_block[[0.05, 0.95]])


def test_nothing_outside_a_histograms_axis_is_dropped():
    values = np.array([-0.5, 0.0, 0.3, 3.0, 17.4, 9.0])
    counts, below, above = norms.clipped_counts(values, np.linspace(0, 3, 100))
    assert (counts.sum(), below, above) == (3, 1, 2)


def test_the_four_sizes_of_gpt2_stand_above_the_models_of_the_run_with_their_shares():
    values = pd.DataFrame({"model": "mine", "kind": "gamma", "value": [0.1, 0.3, 0.35, 0.9, np.inf]})
    reference = {"q05": 0.2, "q25": 0.25, "q50": 0.3, "q75": 0.35, "q95": 1.2, "share_in_range": 0.763}
    figure = norms.by_model(values, 0.2, 0.4, {"GPT-2 small": reference})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["GPT-2 small", "mine"]
    lines = [list(line.get_xdata()) for line in axes.lines]
    assert lines[1:4] == [[0.2, 1.2], [0.25, 0.35], [0.3]]
    assert lines[6] == pytest.approx([np.median([0.1, 0.3, 0.35, 0.9])])
    assert [text.get_text() for text in axes.texts][:2] == ["76\u00a0%", "50\u00a0%"]
    assert figure.get_suptitle() == "Only GPT-2 small has most γ in 0.2 to 0.4"
    formula = norms.by_model(values.assign(model="$\\frac{$", value=0.3), 0.2, 0.4, {})
    assert "<title>Only $\\frac{$ has most γ" in batch.svg(formula, 50)


def dynamics(blocks=3):
    """The `dynamics` table of two quantities, block 0 first in both."""
    return pd.DataFrame(
        {"quantity": name, "step": step, "block": block, "seeds": 2, "mean": mean, "low": mean - 1, "high": mean + 1}
        for name, factor in (("std_q", 1.0), ("std_k", 2.0), ("std_v", 3.0))
        for block in range(blocks)
        for step in (0, 1, 2, 4, 100)
        for mean in [factor * (step + 1) / (block + 1)]
    )


def test_quantities_by_block_have_a_panel_each_and_name_their_lines():
    figure = model5.by_block(dynamics(), "Title", {"std_q": "first", "std_k": "second"}, early=True)
    first, second = figure.axes
    assert (first.get_ylabel(), second.get_ylabel(), second.get_xlabel()) == ("first", "second", "step (updates)")
    assert figure.get_suptitle() == "Title rises from 0.61 to 62", "the first quantity's mean over blocks"
    assert "Means of 2 seeds; bands: 95\u00a0% intervals." in figure.get_supxlabel().replace("\n", " ")
    assert [text.get_text() for text in second.texts] == ["block 2", "block 1", "block 0"], "from below"


def test_the_early_step_axis_gives_the_first_steps_room_and_a_logarithmic_one_cuts_bands_below_zero():
    (early,) = model5.by_block(dynamics(), "Title", {"std_q": "y"}, early=True).axes
    (log,) = model5.by_block(dynamics(), "Title", {"std_q": "y"}, log=True).axes
    assert [label.get_text() for label in early.get_xticklabels()] == ["0", "1", "2", "5", "10", "20", "50", "100"]
    x = early.transData.transform([(step, 1) for step in (0, 1, 10, 100)])[:, 0]
    gaps = np.diff(x)
    assert gaps[1] == pytest.approx(gaps[2], rel=0.01)
    assert gaps[0] > 0.3 * gaps[1]
    assert (log.get_yscale(), log.get_ylim()[0]) == ("log", pytest.approx(1 / 3 / 2))


@pytest.mark.parametrize(("lowest", "named"), [(True, 0), (False, 2)])
def test_the_most_extreme_of_the_heads_is_named(lowest, named):
    heads = pd.DataFrame(
        {"step": step, "block": block, "head": head, "largest_logit": 1.0 * step * (head + 1)}
        for block in range(2) for head in range(3) for step in (0, 1, 10)
    )  # fmt: skip
    figure = model5.by_head(heads, "largest_logit", "y", lowest)
    for block, axes in enumerate(figure.axes):
        assert axes.get_title() == f"block {block}: head {named}"
        assert [line.get_color() == palette.RED for line in axes.lines] == [head == named for head in range(3)]
    said = "lowest of all heads: 10" if lowest else "highest of all heads: 30"
    assert figure.get_suptitle() == f"Block 0, head {named} ends {said} (y)"


def test_a_formats_bar_ends_at_the_first_results_that_are_not_finite():
    first = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for name, scaling, way, keys in product(stage.FORMATS, stage.SCALINGS, stage.SUBTRACTED, stage.KEYS):
        first[name][scaling][way][keys] = {"first_not_finite": 0, "first_zero_exp": 0}
    first["bf16"]["scaled"]["naive"]["aligned"] = {"first_not_finite": 32, "first_zero_exp": 8}
    first["fp16"]["scaled"]["naive"]["aligned"] = {"first_not_finite": 16, "first_zero_exp": 32}
    independent, aligned = formats.first_failures(pd.DataFrame({"dimension": [2, 64]}), first).axes
    third = 2 * (len(palette.FORMATS) + formats.HEADER)  # the row where the third group of bars starts
    assert [text.get_text() for text in independent.texts][2:3] == ["scaled, naive"]
    assert len(independent.texts) == 4, "names of groups, no numbers"
    assert [(text.get_text(), text.xy) for text in aligned.texts] == [("32", (32, third + 1)), ("16", (16, third + 2))]
    zeros = [line.get_xydata()[0].tolist() for line in aligned.lines if line.get_marker() == "o"]
    assert zeros == [[8, third + 1]], "not after the end"


def test_ablations_have_their_interval_or_their_seeds_in_order_of_the_median():
    losses = {"scaled": [4.1, 4.2, 4.3], "unscaled": [4.5, 4.6, 4.7], "no_layernorm": [4.0, 4.1, 99.0]}
    conditions = {
        name: {
            "attends": name != "no_layernorm", "broke_down": int(max(of) > 8.3), "first_test_loss": estimate(8.3, 0),
            "last_test_loss": estimate(np.mean(of), 0.1), "added_loss": estimate(np.mean(of) - 4.2, 0.05),
            "by_seed": {"last_test_loss": {f"seed_{i}": loss for i, loss in enumerate(of)}},
        }
        for name, of in losses.items()
    }  # fmt: skip
    left, right = ablations.test_loss(conditions).axes
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
    start, change = ablations.curves(runs, list(conditions)).axes
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
    for axes, quantity in zip(ablations.layernorm(runs).axes, panels, strict=True):
        drawn = {(line.get_color(), *map(tuple, line.get_xydata())) for line in axes.lines}
        expected = {
            (ablations.COLOURS[name], *part[["block", "value"]].astype(float).itertuples(index=False, name=None))
            for (name, seed), part in runs[runs["quantity"] == quantity].groupby(["condition", "seed"])
            for part in [part[part["step"] == last[seed]].sort_values("block")]
        }
        assert drawn == expected, quantity
