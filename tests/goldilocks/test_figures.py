import multiprocessing
from collections import defaultdict
from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from goldilocks.core import tables
from goldilocks.plotting import batch, formats, goldilocks, model5, norms, palette, style
from goldilocks.softmax.scalings import EXPONENTS, FACTORS
from stages import formats as stage

NAMES = {
    "one_pair", "sweep", "sweep_ratio", "softmax", "goldilocks_map", "goldilocks_zone", "jacobians", "two_needs",
    "formats",
    "first_failures", "layernorm_histograms", "layernorm_by_block", "layernorm_by_model", "losses", "std_by_block",
    "std_by_part", "kurtosis_by_block", "norms_by_block", "cosine_to_initial", "updates_by_block",
    "attention_entropy", "entropy_by_head", "logits_by_head", "qkv_histograms", "logits_by_scaling",
    "logit_distribution",
}  # fmt: skip


def test_every_figure_is_drawn_without_date_or_path(smoke):
    found = {path.stem: path.read_text("utf-8") for path in (smoke.folder / "reports" / "figures").iterdir()}
    assert set(found) == NAMES
    for name, svg in found.items():
        assert svg.startswith("<?xml"), name
        assert "<dc:date>" not in svg, name
        assert str(smoke.folder) not in svg, name
        assert len(svg) < 100_000, name


def test_nothing_outside_a_histograms_axis_is_dropped():
    values = np.array([-0.5, 0.0, 0.3, 3.0, 17.4, 9.0])
    counts, below, above = norms.clipped_counts(values, np.linspace(0, 3, 100))
    assert (counts.sum(), below, above) == (3, 1, 2)


def test_the_same_figure_has_the_same_bytes_whatever_the_users_style(tmp_path):
    for name, users in (("a", {}), ("b", {"axes.facecolor": "red", "axes.labelsize": 40})):
        with mpl.rc_context(users), style.applied():
            style.save(model5.std_by_part(dynamics(), 7), tmp_path / name, 100)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
    with style.applied():
        figure = model5.by_block(dynamics(), {"std_q": "first", "std_k": "second"}, "Title", 7, early=True)
    first, second = figure.axes
    assert (first.get_ylabel(), second.get_ylabel(), second.get_xlabel()) == ("first", "second", "step (updates)")
    assert figure.get_suptitle() == "Title rises from 0.61 to 62", "the first quantity's mean over blocks"
    assert "Means of 2 seeds; bands: 95\u00a0% intervals." in figure.get_supxlabel().replace("\n", " ")
    assert [text.get_text() for text in second.texts] == ["block 2", "block 1", "block 0"], "from below"
    np.testing.assert_allclose(second.lines[1].get_ydata(), 2 * np.array([1, 2, 3, 5, 101]) / 2)


def test_the_early_step_axis_gives_the_first_steps_room_and_a_logarithmic_one_cuts_bands_below_zero():
    with style.applied():
        (early,) = model5.by_block(dynamics(), {"std_q": "y"}, "Title", 7, early=True).axes
        (log,) = model5.by_block(dynamics(), {"std_q": "y"}, "Title", 7, log=True).axes
    assert [label.get_text() for label in early.get_xticklabels()] == ["0", "1", "2", "5", "10", "20", "50", "100"]
    x = early.transData.transform([(step, 1) for step in (0, 1, 10, 100)])[:, 0]
    gaps = np.diff(x)
    assert gaps[1] == pytest.approx(gaps[2], rel=0.01)
    assert gaps[0] > 0.3 * gaps[1]
    assert (log.get_yscale(), log.get_ylim()[0]) == ("log", pytest.approx(1 / 3 / 2))


def test_q_k_and_v_have_a_line_each_in_every_block():
    with style.applied():
        figure = model5.std_by_part(dynamics(4), 7)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [f"block {i}" for i in range(4)]
    assert [text.get_text() for text in shown[0].texts] == ["Q", "K", "V"]
    assert [line.get_ydata()[-1] for line in shown[1].lines] == pytest.approx([101 / 2, 101, 303 / 2])


@pytest.mark.parametrize(("lowest", "named"), [(True, 0), (False, 2)])
def test_heads_have_a_line_each_and_the_most_extreme_is_named(lowest, named):
    table = pd.DataFrame(
        {"step": step, "block": block, "head": head, "largest_logit": 1.0 * step * (head + 1)}
        for block in range(2) for head in range(3) for step in (0, 1, 10)
    )  # fmt: skip
    with style.applied():
        figure = model5.by_head(table, "largest_logit", "y", lowest, 7)
    for block, axes in enumerate(figure.axes):
        assert axes.get_title() == f"block {block}: head {named}"
        assert [line.get_color() == palette.RED for line in axes.lines] == [head == named for head in range(3)]
    said = "lowest of all heads: 10" if lowest else "highest of all heads: 30"
    assert figure.get_suptitle() == f"Block 0, head {named} ends {said} (y)"


@pytest.fixture(scope="module")
def by_format():
    """The `formats` table of a small run."""
    dimensions = [2, 4, 8, 16, 32, 64]
    return pd.DataFrame([line for d in dimensions for line in stage.outcomes(stage.dot_products(5, 4, 2, d), d)])


def test_a_panel_of_the_formats_has_a_line_for_each_format_and_softmax(by_format):
    with style.applied():
        axes = formats.formats(by_format, 7).axes
    assert [panel.get_title() for panel in axes[:2]] == ["softmax of q·k", "softmax of q·k/√d"]
    for panel, (quantity, scaling) in zip(axes, product(formats.QUANTITIES, formats.SCALINGS), strict=True):
        for line, (name, way) in zip(panel.lines, product(palette.FORMATS, formats.STYLES), strict=True):
            here = {"keys": "independent", "scaling": scaling, "format": name, "softmax": way}
            chosen = by_format[np.logical_and.reduce([by_format[column] == value for column, value in here.items()])]
            assert (line.get_color(), line.get_linestyle()) == (palette.FORMATS[name], formats.STYLES[way])
            np.testing.assert_array_equal(line.get_xydata(), chosen[["dimension", quantity]])


def test_a_formats_bar_ends_at_the_first_results_that_are_not_finite(by_format):
    nothing = {"first_not_finite": 0, "first_zero_exp": 0}
    names = product(stage.FORMATS, stage.SCALINGS, stage.SUBTRACTED, stage.KEYS)
    first = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for name, scaling, way, keys in names:
        first[name][scaling][way][keys] = nothing
    first["bf16"]["scaled"]["naive"]["aligned"] = {"first_not_finite": 32, "first_zero_exp": 8}
    first["fp16"]["scaled"]["naive"]["aligned"] = {"first_not_finite": 16, "first_zero_exp": 32}
    with style.applied():
        independent, aligned = formats.first_failures(by_format, first, 7).axes
    third = 2 * (len(palette.FORMATS) + formats.HEADER)  # the row where the third group of bars starts
    assert [text.get_text() for text in independent.texts][2:3] == ["scaled, naive"]
    assert len(independent.texts) == 4, "names of groups, no numbers"
    assert [(text.get_text(), text.xy) for text in aligned.texts] == [("32", (32, third + 1)), ("16", (16, third + 2))]
    zeros = [line.get_xydata()[0].tolist() for line in aligned.lines if line.get_marker() == "o"]
    assert zeros == [[8, third + 1]], "not after the end"


def test_what_the_second_process_can_not_write_is_told(tmp_path, monkeypatch):
    figures = dict.fromkeys("abc", Figure)
    batch.draw_all(figures, tmp_path, 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg", "c.svg"]

    def failing(error):
        failed = multiprocessing.get_context("fork").Event()

        def save(_figure, path, _dpi):
            if multiprocessing.parent_process() is None:
                assert failed.wait(60)  # so that the second process takes one, too
                return
            failed.set()
            error.filename = str(path)
            raise error

        return save

    monkeypatch.setattr(batch, "save", failing(OSError(28, "No space left on device")))
    with pytest.raises(batch.UserError, match=r"No space left on device: .*[abc]\.svg"):
        batch.draw_all(figures, tmp_path, 50)
    monkeypatch.setattr(batch, "save", failing(IndexError()))
    with pytest.raises(batch.UserError, match="second process ended with 1"):
        batch.draw_all(figures, tmp_path, 50)


@pytest.fixture(scope="module")
def cells(smoke):
    return tables.read(smoke.folder / "data/goldilocks.parquet", "goldilocks")


def test_what_softmax_needs_is_drawn_as_the_table_has_it_with_a_rule_at_what_the_zone_asks(cells):
    with style.applied():
        figure = goldilocks.two_needs(cells, 7, 0.5, 2.0)
    n = sorted(cells["length"].unique())[len(cells["length"].unique()) // 2]
    independent = cells[(cells["length"] == n) & (cells["correlation"] == 0)]
    for axes, quantity, least in zip(figure.axes, ("relative_gradient", "discrimination"), (0.5, 2.0), strict=True):
        rule, *lines = axes.lines
        assert set(rule.get_ydata()) == {least}
        for line, exponent, colour in zip(lines, EXPONENTS.values(), palette.SCALINGS.values(), strict=True):
            expected = independent[independent["exponent"] == exponent].sort_values("dimension")
            assert line.get_color() == colour
            np.testing.assert_array_equal(line.get_xydata(), expected[["dimension", quantity]])
    enough = (independent["relative_gradient"] >= 0.5) & (independent["discrimination"] >= 2)
    held = enough.groupby(independent["exponent"]).all()
    named = [factor for name, factor in FACTORS.items() if held[EXPONENTS[name]]]
    assert figure.get_suptitle().endswith(f"{'only ' * (len(named) == 1)}{' and '.join(named) or 'no scaling'}")


def test_jacobians_have_a_rule_at_a_half_and_the_articles_point(cells):
    with style.applied():
        (axes,) = goldilocks.jacobians(cells, 50, 1.11, 7).axes
    one, half, *lines, point = axes.lines
    assert (set(one.get_ydata()), set(half.get_ydata())) == ({1}, {0.5})
    assert axes.get_yscale() == "log"
    assert "0.5" in [tick.get_text() for tick in axes.get_yticklabels()]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([50], [1.11])
    assert "◆ the articles' d = 50: 1.11" in [text.get_text() for text in axes.texts]
    for line, n in zip(lines, sorted(cells["length"].unique()), strict=True):
        chosen = cells[(cells["length"] == n) & (cells["correlation"] == 0)].pivot(
            index="dimension", columns="exponent", values="jacobian_norm"
        )
        np.testing.assert_allclose(line.get_ydata(), chosen[0.0] / chosen[0.5])


def test_the_four_sizes_of_gpt2_stand_above_the_models_of_the_run_with_their_shares():
    table = pd.DataFrame({"model": "mine", "kind": "gamma", "value": [0.1, 0.3, 0.35, 0.9, np.inf]})
    reference = {"q05": 0.2, "q25": 0.25, "q50": 0.3, "q75": 0.35, "q95": 1.2, "share_in_range": 0.763}
    with style.applied():
        figure = norms.by_model(table, 7, 0.2, 0.4, {"GPT-2 small": reference})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["GPT-2 small", "mine"]
    lines = [list(line.get_xdata()) for line in axes.lines]
    assert lines[1:4] == [[0.2, 1.2], [0.25, 0.35], [0.3]]
    assert lines[6] == pytest.approx([np.median([0.1, 0.3, 0.35, 0.9])])
    assert [text.get_text() for text in axes.texts][:2] == ["76\u00a0%", "50\u00a0%"]
    assert figure.get_suptitle() == "Only GPT-2 small has most γ in 0.2 to 0.4"


def test_labels_of_logarithmic_axes_are_no_formulas():
    labels = [style.power_of_ten(value) for value in (1e-6, 0.01, 1, 100, 1e5, -1e4, 0, 5)]
    assert labels == ["10⁻⁶", "0.01", "1", "100", "10⁵", "\u221210⁴", "0", ""]
    with style.applied():
        axes = model5.by_block(dynamics(), {"std_q": "y"}, "Title", 7, log=True).axes[0]
        style.prepare(axes)
        assert "$" not in "".join(label.get_text() for label in axes.get_yticklabels())


def test_layout_measures_labels_once_and_they_stay_in_the_figure(monkeypatch):
    asked = []
    measure = Axes.get_tightbbox
    monkeypatch.setattr(Axes, "get_tightbbox", lambda axes, *a, **k: asked.append(axes) or measure(axes, *a, **k))
    with style.applied():
        figure = model5.by_block(dynamics(), {"std_q": "first", "std_k": "second"}, "Title", 7)
        for axes in figure.axes:
            style.prepare(axes)
        figure.draw_without_rendering()
        assert asked == figure.axes
        for axes in figure.axes:
            told, found = axes.get_tightbbox().extents, measure(axes).extents
            np.testing.assert_allclose(told, found, atol=2)
            assert (found >= -1).all()
            assert (found[2:] <= figure.bbox.extents[2:] + 1).all()


def test_ticks_are_placed_anew_only_for_another_view_or_size(monkeypatch):
    asked = []
    place = Axis._update_ticks
    monkeypatch.setattr(Axis, "_update_ticks", lambda axis: asked.append(axis) or place(axis))
    with style.applied():
        axes = Figure(figsize=(7, 3)).subplots()
        style.prepare(axes)

        def ticks():
            return [tick.get_loc() for tick in axes.xaxis._update_ticks()]

        assert ticks() == ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
        assert asked == [axes.xaxis]
        axes.set_xlim(0, 100)
        assert ticks() == [0, 20, 40, 60, 80, 100]
        axes.set_position((0, 0, 0.15, 1))
        assert ticks() == [0, 50, 100]
