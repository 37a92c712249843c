import sys

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages import goldilocks, softmax
from stages.common import files, params, statistics, streams, tables
from stages.drawing import goldilocks as drawing
from stages.drawing import style
from stages.landscape import rows, zone

DEFAULTS = params.read(ROOT / "params.yaml")["goldilocks"]


def settings(**changes):
    return goldilocks.Settings.model_validate(DEFAULTS | changes)


SMALL = settings(widest=16, exponents=5, lengths=[4, 9], correlations=[0.0, 0.5], trials=30)


def generators(d=6, n=12):
    return [streams.generator(1, f"goldilocks/{name}", d, n) for name in ("query", "keys")]


def of_logits(z, first=None):
    """Rows from logits z (trials, n), the first key's logits being z's own or those given."""
    first = z[None, :, 0] if first is None else first
    return rows.Rows(first, z[:, 1:].max(-1), z[:, 1:] - z[:, 1:].max(-1, keepdims=True))


def by_definition(z):
    """The statistics of softmax(z), z (..., n), with each matrix and vector written out: (statistics, ...)."""
    p = softmax.softmax(z)
    identity = np.eye(z.shape[-1])
    jacobian = p[..., None] * identity - p[..., None] * p[..., None, :]
    gradients = np.linalg.norm(p[..., None, :] - identity, axis=-1)  # (..., t)
    entropy = softmax.entropy(softmax.log_softmax(z))
    norm = np.linalg.norm(jacobian, axis=(-1, -2))
    return np.stack([entropy / np.log(z.shape[-1]), p.max(-1), np.exp(entropy), norm, (p * gradients).sum(-1)])


@given(arrays(np.float64, (3, 7), elements=st.floats(-40, 40)), st.floats(0.01, 3), st.floats(-200, 200))
def test_statistics_are_what_they_are_defined_as(z, scale, first):
    several = np.stack([z[:, 0], np.full(3, first)])
    expected = np.stack([by_definition(scale * np.column_stack([one, z[:, 1:]])) for one in several], axis=1)
    np.testing.assert_allclose(rows.statistics_at(of_logits(z, several), scale), expected, rtol=1e-6, atol=1e-7)


def test_statistics_of_known_distributions():
    n = 50
    even = rows.statistics_at(of_logits(np.zeros((1, n))), 1.0).ravel()
    np.testing.assert_allclose(even, [1, 1 / n, n, np.sqrt(n - 1) / n, np.sqrt(1 - 1 / n)])
    assert even[-1] == pytest.approx(rows.even_gradient(np.array(n)))
    for one in (0, 7):
        one_hot = rows.statistics_at(of_logits(1e6 * np.eye(n)[[one]]), 1.0).ravel()
        np.testing.assert_allclose(one_hot, [0, 1, 1, 0, 0], atol=1e-7)
    halves = rows.statistics_at(of_logits(1e6 * np.eye(n)[[3]] + 1e6 * np.eye(n)[[0]]), 1.0).ravel()
    np.testing.assert_allclose(halves, [np.log(2) / np.log(n), 0.5, 2, 0.5, np.sqrt(0.5)])


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_logits_drawn_without_vectors_are_distributed_as_products_of_vectors(rho):
    """Row statistics, and so their means and quantiles, of explicit products: Kolmogorov-Smirnov, fixed streams."""
    from scipy.stats import ks_2samp

    d, n, trials = 6, 12, 20_000
    drawn = rows.draw(*generators(d, n), d, n, [rho], trials)
    vectors = np.random.default_rng(5).standard_normal((trials, n + 1, d))
    q, k = vectors[:, 0], vectors[:, 1:]
    k[:, 0] = rho * q + np.sqrt(1 - rho**2) * k[:, 0]
    products = np.einsum("td,tnd->tn", q, k)
    assert ks_2samp(drawn.first[0], products[:, 0]).pvalue > 0.001
    assert ks_2samp(drawn.largest, products[:, 1:].max(-1)).pvalue > 0.001
    for scale in (1.0, d**-0.5):
        explicit = rows.statistics_at(of_logits(products), scale)
        for name, ours, theirs in zip(
            rows.STATISTICS, rows.statistics_at(drawn, scale)[:, 0], explicit[:, 0], strict=True
        ):
            assert ks_2samp(ours, theirs).pvalue > 0.001, (name, scale)


def test_statistics_stay_finite_from_even_to_one_hot_and_at_the_widest_dimension():
    drawn = rows.draw(*generators(), 6, 12, [0.0, 0.1, 1.0], 300)
    for scale in np.geomspace(1e-6, 1e6, 200).tolist():
        assert np.isfinite(rows.statistics_at(drawn, scale)).all(), scale
    d = 2**20
    found = rows.statistics_at(rows.draw(*generators(d), d, 12, [0.0, 0.1, 1.0], 50), 1.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 1:].mean(-1), np.transpose([[0, 1, 1, 0, 0]] * 2), atol=1e-7)


def test_parts_of_a_run_are_what_the_whole_is(monkeypatch):
    query, keys = generators()
    parts = [rows.draw(query, keys, 6, 12, [0.5], trials) for trials in (15, 25)]
    whole = rows.draw(*generators(), 6, 12, [0.5], 40)
    for axis, name in ((1, "first"), (0, "largest"), (0, "below")):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts], axis), getattr(whole, name)
        )
    at_once = goldilocks.moments(1, 8, 9, SMALL)
    monkeypatch.setattr(goldilocks, "CHUNK_ELEMENTS", 9 * 7)
    in_chunks = goldilocks.moments(1, 8, 9, SMALL)
    assert in_chunks.n == at_once.n == 30
    np.testing.assert_allclose(in_chunks.mean, at_once.mean, rtol=1e-12)
    np.testing.assert_allclose(in_chunks.squares, at_once.squares, rtol=1e-9, atol=1e-15)


def test_memory_does_not_grow_with_the_trials(monkeypatch):
    sizes, draw = [], rows.draw
    monkeypatch.setattr(rows, "draw", lambda *arguments: sizes.append(arguments[-1]) or draw(*arguments))
    monkeypatch.setattr(goldilocks, "CHUNK_ELEMENTS", 90)
    goldilocks.moments(1, 8, 9, SMALL)
    assert sizes == [10, 10, 10]


def test_the_result_does_not_depend_on_threads_and_a_dimension_or_length_more_changes_no_other():
    one, two = (goldilocks.table(goldilocks.monte_carlo(1, SMALL, threads), SMALL) for threads in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    larger = SMALL.model_copy(update={"widest": 32, "lengths": [5, 9, 4]})
    more = goldilocks.table(goldilocks.monte_carlo(1, larger, 2), larger)
    common = one.merge(more, how="left", on=list(one.columns))
    assert len(common) == len(one)
    assert len(one.merge(more)) == len(one), "every row is found again, equal to the last bit"


def test_progress_is_told_all_the_work(monkeypatch):
    told = []

    class Recorder:
        def __init__(self, _label, total, _unit):
            told.append(-total)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def add(self, work):
            told.append(work)

    monkeypatch.setattr(goldilocks, "Progress", Recorder)
    monkeypatch.setattr(goldilocks, "CHUNK_ELEMENTS", 100)
    goldilocks.monte_carlo(1, SMALL, 2)
    assert len(told) > 10
    assert sum(told) == 0


def test_a_row_of_the_table_is_of_its_own_cell_with_students_interval():
    table = goldilocks.table(goldilocks.monte_carlo(1, SMALL, 1), SMALL)
    assert len(table) == 4 * 2 * 2 * 5
    d, n, exponent = 8, 9, 0.25
    drawn = rows.draw(*generators(d, n), d, n, SMALL.correlations, 30)
    values = rows.statistics_at(drawn, d**-exponent)[:, 1]
    (row,) = table.query("dimension == 8 and length == 9 and correlation == 0.5 and exponent == 0.25").itertuples()
    assert row.scale == pytest.approx(d**-exponent)
    for name, of_trials in zip(rows.STATISTICS, values, strict=True):
        expected = statistics.mean_interval(of_trials)
        found = [getattr(row, column) for column in zone.with_interval(name)]
        assert found == pytest.approx(list(np.clip(expected[:3], *rows.bounds(np.array(n))[name]))), name
    assert row.relative_gradient_low == pytest.approx(row.gradient_norm_low / np.sqrt(1 - 1 / 9))
    assert row.discrimination_high == pytest.approx(9 * row.largest_probability_high)


def test_no_interval_leaves_what_is_possible():
    two = SMALL.model_copy(update={"trials": 2})
    table = goldilocks.table(goldilocks.monte_carlo(1, two, 1), two)
    for name, (least, most) in rows.bounds(table["length"].to_numpy()).items():
        assert (table[f"{name}_low"] >= least).all(), name
        assert (table[f"{name}_high"] <= most).all(), name
        assert (table[f"{name}_low"] < table[f"{name}_high"]).any(), name


def test_the_scales_hold_one_and_one_over_root_d_and_one_over_d_exactly():
    for points in range(3, 1002, 2):
        x = goldilocks.exponents(points)
        assert (x[0], x[points // 2], x[-1], x.size) == (1.0, 0.5, 0.0, points)
        assert (np.diff(x) < 0).all()
    assert goldilocks.dimensions(16) == [2, 4, 8, 16]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0.0, 1.0, 3.0, 9.0], (0.5, False)),  # halfway between 1 and 3
        ([0.0, 2.0, 3.0, 9.0], (0.6, False)),  # exactly there
        ([2.5, 1.0, 3.0, 9.0], (1.0, True)),  # from the start, whatever follows
        ([0.0, 3.0, 1.0, 9.0], (1 - 0.4 * 2 / 3, False)),  # the first of two
        ([0.0, 1.0, 1.5, 1.9], (0.0, True)),  # never
    ],
)
def test_edges_are_found_by_linear_interpolation(values, found):
    assert zone.first_met(np.array([1.0, 0.6, 0.4, 0.0]), np.array(values), 2.0) == pytest.approx(found)


def cells(**columns):
    """A map of one length and correlation from (dimensions, scales) arrays, scales 1/d, 1/√d and 1; no spread."""
    dimensions = np.array([4, 16, 64])
    table = {"dimension": np.repeat(dimensions, 3), "length": 8, "correlation": 0.0}
    table |= {"exponent": np.tile([1.0, 0.5, 0.0], 3), "trials": 10}
    for name, values in columns.items():
        table |= dict.fromkeys(zone.with_interval(name), np.ravel(values))
    return pd.DataFrame(table)


GRADIENT = [[1.0, 0.9, 0.6], [1.0, 0.8, 0.3], [1.0, 0.4, 0.0]]
DISCRIMINATION = [[2.5, 3.0, 7.0], [1.5, 2.5, 8.0], [1.0, 5.0, 8.0]]


def test_the_zones_edges_as_scales_and_exponents():
    found = zone.edges(cells(relative_gradient=GRADIENT, discrimination=DISCRIMINATION), 0.5, 2.0)
    assert found["dimension"].tolist() == [4, 16, 64]
    np.testing.assert_allclose(found["lower_exponent"], [1, 0.75, 1 - 0.5 / 4])
    np.testing.assert_allclose(found["upper_exponent"], [0, 0.5 * 2 / 5, 0.5 + 0.5 / 6])
    assert found["lower_beyond"].tolist() == [True, False, False]
    assert found["upper_beyond"].tolist() == [True, False, False]
    np.testing.assert_allclose(found["lower"], [1 / 4, 16**-0.75, 64**-0.875])
    np.testing.assert_allclose(found["upper"], [1, 16**-0.2, 64 ** -(7 / 12)])
    np.testing.assert_allclose(found["decades"], np.log10(found["upper"] / found["lower"]))


def test_where_both_are_never_met_together_the_zone_has_no_width():
    table = cells(relative_gradient=[[1.0, 0.0, 0.0]] * 3, discrimination=[[1.0, 1.0, 8.0], [1.0] * 3, [8.0] * 3])
    found = zone.edges(table, 0.5, 2.0)
    assert found["decades"].tolist()[:2] == [0, 0]
    assert found["decades"][2] == pytest.approx(np.log10(64**0.25))
    assert found["lower_exponent"][1] == 0
    assert found["lower_beyond"].tolist() == [False, True, True]


def test_a_cell_is_inside_or_outside_only_by_its_whole_intervals():
    table = pd.DataFrame(
        {
            "relative_gradient_low": [0.5, 0.4, 0.4, 0.9, 0.4],
            "relative_gradient_high": [0.6, 0.6, 0.49, 0.9, 0.6],
            "discrimination_low": [2.0, 3.0, 3.0, 1.0, 1.0],
            "discrimination_high": [2.5, 3.0, 3.0, 2.5, 1.9],
        }
    )
    assert zone.verdicts(table, 0.5, 2.0).tolist() == ["inside", "undecided", "outside", "undecided", "outside"]


def test_metrics_say_what_the_map_holds():
    jacobian = [[0.1, 0.2, 0.15], [0.1, 0.2, 0.09], [0.1, 0.2, 0.3]]
    table = cells(relative_gradient=GRADIENT, discrimination=DISCRIMINATION, jacobian_norm=jacobian)
    table.loc[table["dimension"] == 16, "relative_gradient_low"] -= 0.6
    table["zone"] = zone.verdicts(table, 0.5, 2.0)
    found = zone.metrics(table, zone.edges(table, 0.5, 2.0))
    assert found["dimensions"] == 3
    inside, outside = ([found[name][f"dimensions_{kind}"] for name in zone.DIVISORS] for kind in ("inside", "outside"))
    assert (inside, outside) == ([1, 1, 1], [2, 1, 2])
    assert found["unscaled"]["widest_dimension_inside"] == 4
    assert found["unscaled"]["dimension_where_jacobian_halves"] == 16
    assert found["by_root_d"]["outside_from_dimension"] == 64, "at 16 it is undecided"
    assert found["by_root_d"]["relative_gradient"] == {"value": 0.4, "low": 0.4, "high": 0.4, "n": 10}
    assert found["by_d"]["discrimination"]["value"] == 1.0
    assert found["by_root_d"]["lowest_discrimination"]["value"] == 2.5
    assert found["by_root_d"]["lowest_relative_gradient"] == pytest.approx(
        {"value": 0.4, "low": 0.2, "high": 0.4, "n": 10}
    ), "the lowest lower end is of another dimension"
    assert found["zone"]["upper_exponent"] == pytest.approx(7 / 12)
    assert found["zone"]["decades_at_smallest_dimension"] == pytest.approx(np.log10(4))
    assert not found["zone"]["lower_beyond"]
    nowhere = zone.metrics(table.assign(zone=zone.OUTSIDE, jacobian_norm=0.2), zone.edges(table, 0.5, 2.0))
    assert nowhere["unscaled"]["widest_dimension_inside"] == 0
    assert nowhere["unscaled"]["dimension_where_jacobian_halves"] == 0


@pytest.mark.parametrize(("held", "found"), [("001", 64), ("011", 16), ("111", 4), ("101", 64), ("110", 0)])
def test_from_which_dimension_on(held, found):
    assert zone._from_there_on(np.array([4, 16, 64]), np.array([c == "1" for c in held])) == found


def test_one_over_root_d_is_the_scale_of_independent_vectors_and_one_over_d_that_of_equal_ones():
    chosen = settings(widest=1024, exponents=5, lengths=[16], correlations=[0.0, 1.0])
    found = goldilocks.table(goldilocks.monte_carlo(3, chosen, 2), chosen)
    at = {name: found[found["exponent"] == x].pivot(index="dimension", columns="correlation", values="zone")
          for name, x in zone.DIVISORS.items()}  # fmt: skip
    assert (at["by_root_d"][0.0] == "inside").all()
    assert (at["by_d"][0.0].loc[64:] == "outside").all()
    assert (at["unscaled"][0.0].loc[64:] == "outside").all()
    assert (at["by_root_d"][1.0].loc[64:] == "outside").all()
    assert (at["by_d"][1.0] == "inside").all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"widest": 100}, "widest = 100: must be a power of two"),
        ({"widest": 2}, "widest = 2: must be greater than or equal to 4"),
        ({"exponents": 24}, "exponents = 24: must be odd"),
        ({"exponents": 1}, "exponents = 1: must be greater"),
        ({"lengths": []}, "lengths = []"),
        ({"lengths": [16, 1]}, "every length must lie in 2"),
        ({"lengths": [16, 16]}, "no length may stand twice"),
        ({"lengths": list(range(10, 17))}, "at most 6"),
        ({"correlations": []}, "correlations = []"),
        ({"correlations": [0.0, 1.1]}, "every correlation must lie in 0"),
        ({"correlations": [0.1, 0.1000000001]}, "no correlation may stand twice"),
        ({"trials": 1}, "trials = 1: must be greater"),
        ({"least_gradient": 1.0}, "least_gradient = 1.0: must be less than 1"),
        ({"least_discrimination": 1.0}, "least_discrimination = 1.0: must be greater than 1"),
        ({"least_discrimination": 16.0}, "must be less than the shortest of goldilocks.lengths, 16"),
    ],
)
def test_what_makes_no_map_is_refused(changes, said):
    (line,) = params.problems(goldilocks.Settings, DEFAULTS | changes, "goldilocks")
    assert said in line


def test_the_stage_writes_its_tables_and_finite_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["goldilocks"])
    written = []
    for threads in (1, 2):
        files.write_json(params.PARAMS, {"goldilocks": SMALL.model_dump(), "run": {"root_seed": 1, "threads": threads}})
        goldilocks.main()
        written.append((files.METRICS / "goldilocks.json").read_bytes())
    assert written[0] == written[1]
    found = files.read_metrics("goldilocks")
    assert sorted(found) == ["length_4", "length_9"]
    assert all(sorted(of) == ["rho_0", "rho_0_5"] for of in found.values())
    assert tables.parameters(goldilocks.OUTPUT)["goldilocks"]["trials"] == 30
    assert len(tables.read(goldilocks.OUTPUT, "goldilocks")) == 80
    edges = tables.read(goldilocks.ZONE, "goldilocks_zone")
    assert len(edges) == 16
    for rho, name in ((0.0, "rho_0"), (0.5, "rho_0_5")):
        widest = edges.query("dimension == 16 and length == 9")
        (expected,) = widest.loc[widest["correlation"] == rho, "lower_exponent"]
        assert found["length_9"][name]["zone"]["lower_exponent"] == pytest.approx(expected, rel=1e-5)
        assert found["length_9"][name]["dimensions"] == 4


def mapped(chosen):
    table = goldilocks.table(goldilocks.monte_carlo(1, chosen, 1), chosen)
    return table, zone.edges(table, 0.5, 2.0)


def test_the_map_has_a_panel_each_and_edges_only_where_they_are_known():
    table, edges = mapped(SMALL.model_copy(update={"widest": 64}))
    with style.applied():
        figure = drawing.heat_maps(table, edges, 7)
    panels = figure.axes[:4]
    assert panels[1].get_title() == "largest probability · n"
    assert "n = 9 keys, ρ = 0;" in figure.get_suptitle()
    *scales, lower, upper = panels[0].lines
    assert [line.get_ydata()[-1] for line in scales] == pytest.approx([1, 1 / 8, 1 / 64])
    shown = edges.query("length == 9 and correlation == 0")
    for line, name in ((lower, "lower"), (upper, "upper")):
        np.testing.assert_array_equal(np.isnan(line.get_ydata()), shown[f"{name}_beyond"])
        assert not shown[f"{name}_beyond"].all()
    at_one = table.query("exponent == 0 and length == 9 and correlation == 0")
    np.testing.assert_array_equal(panels[0].collections[0].get_array()[-1], at_one["relative_gradient"])


def test_figures_of_the_smallest_map_are_drawn():
    table, edges = mapped(settings(widest=4, exponents=3, lengths=[3], correlations=[0.0], trials=2))
    with style.applied():
        for figure in (drawing.heat_maps(table, edges, 4), drawing.zones(edges, 4, 0.5, 2.0)):
            figure.draw_without_rendering()


def test_cells_of_the_map_hold_their_own_scale_and_share_their_corners():
    x, y = drawing.corners(np.array([2, 4, 8]), np.array([1.0, 0.75, 0.5, 0.25, 0.0]))
    assert x.shape == y.shape == (6, 4)
    np.testing.assert_allclose(x[0], np.sqrt(2) * np.array([1, 2, 4, 8]))
    np.testing.assert_allclose(y[0], 1 / x[0])
    np.testing.assert_allclose(y[-1], 1)
    centre = np.sqrt(y[2, :-1] * y[3, 1:])
    np.testing.assert_allclose(centre, np.array([2, 4, 8]) ** -0.5, rtol=0.1)


def test_the_zone_has_a_panel_for_each_length_and_correlation_and_is_shaded_between_its_edges():
    _, edges = mapped(SMALL)
    with style.applied():
        figure = drawing.zones(edges, 7, 0.5, 2.0)
    assert len(figure.axes) == 4
    for axes, (_, part) in zip(figure.axes, edges.groupby(["length", "correlation"]), strict=True):
        outline = axes.collections[0].get_paths()[0].vertices
        for d, lower, upper in zip(part["dimension"], part["lower"], part["upper"], strict=True):
            at = outline[outline[:, 0] == d][:, 1]
            assert (at.min(), at.max()) == pytest.approx((lower, max(lower, upper)))
    assert "0.5 of an even softmax's, largest probability at least 2/n" in figure.legends[1].get_texts()[0].get_text()
