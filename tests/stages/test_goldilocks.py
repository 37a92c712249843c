import numpy as np
import pandas as pd
import pytest
from last_commit import params_text
from ruamel.yaml import YAML

from goldilocks.config.goldilocks import Settings
from goldilocks.core import files, rng, tables
from goldilocks.plotting import goldilocks as drawing
from goldilocks.plotting import style
from goldilocks.softmax import drawn_rows, zone
from goldilocks.stats import intervals
from stages import goldilocks

DEFAULTS = YAML(typ="safe").load(params_text())["goldilocks"]


def settings(**changes):
    """The defaults with changes, all scales with as many trials if the changes do not say otherwise."""
    return Settings.model_validate(DEFAULTS | {"line_trials": 2} | changes)


SMALL = settings(widest=16, exponents=5, lengths=[4, 9], correlations=[0.0, 0.5], trials=30)
LINES = SMALL.model_copy(update={"line_trials": 75, "line_keys": 600})


def table_of(chosen, threads=1):
    return goldilocks.table(goldilocks.monte_carlo(1, chosen, threads), chosen)


def drawn(trials):
    """The first trials of d = 8 and n = 9."""
    query, keys = (rng.generator(1, f"goldilocks/{name}", 8, 9) for name in ("query", "keys"))
    return drawn_rows.draw(query, keys, 8, 9, SMALL.correlations, trials)


def test_the_three_scales_have_more_trials_as_far_as_their_keys_go():
    assert goldilocks.trials(4, LINES) == [75, 30, 75, 30, 75]
    assert goldilocks.trials(9, LINES) == [66, 30, 66, 30, 66]
    assert goldilocks.trials(40, LINES) == [30] * 5


@pytest.mark.parametrize("chunk", [2**16, 7])
def test_more_trials_at_the_three_scales_continue_the_same_streams_in_chunks_of_any_size(monkeypatch, chunk):
    sizes, draw = [], drawn_rows.draw
    monkeypatch.setattr(drawn_rows, "draw", lambda *arguments: sizes.append(arguments[-1]) or draw(*arguments))
    monkeypatch.setattr(goldilocks, "CHUNK_ELEMENTS", 9 * chunk)
    moments = goldilocks.moments(1, 8, 9, LINES)
    assert max(sizes) <= chunk, "memory does not grow with the trials"
    monkeypatch.undo()
    for x, n, found in zip(goldilocks.exponents(5).tolist(), goldilocks.trials(9, LINES), moments, strict=True):
        whole = intervals.Moments.of(drawn_rows.statistics_at(drawn(n), 8**-x))
        assert found.n == whole.n == n
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(found.squares, whole.squares, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("exponent", "trials"), [(0.25, 30), (0.5, 66)])
def test_a_row_of_the_table_is_of_its_own_cell_with_students_interval(exponent, trials):
    table = table_of(LINES)
    assert len(table) == 4 * 2 * 2 * 5
    cell = f"dimension == 8 and length == 9 and correlation == 0.5 and exponent == {exponent}"
    (row,) = table.query(cell).itertuples()
    assert (row.trials, row.scale) == (trials, pytest.approx(8**-exponent))
    values = drawn_rows.statistics_at(drawn(trials), 8**-exponent)[:, 1]
    for name, of_trials in zip(drawn_rows.STATISTICS, values, strict=True):
        expected = intervals.mean_interval(of_trials)
        found = [getattr(row, column) for column in zone.with_interval(name)]
        assert found == pytest.approx(list(np.clip(expected[:3], *drawn_rows.bounds(np.array(9))[name]))), name
    assert row.relative_gradient_low == pytest.approx(row.gradient_norm_low / np.sqrt(1 - 1 / 9))
    assert row.relative_jacobian_low == pytest.approx(row.jacobian_norm_low / (np.sqrt(8) / 9))
    assert row.relative_trace == pytest.approx(row.trace / (8 / 9))
    assert row.discrimination_high == pytest.approx(9 * row.largest_probability_high)


def test_the_result_does_not_depend_on_threads_and_a_dimension_or_length_more_changes_no_other():
    one, two = (table_of(SMALL, threads) for threads in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    more = table_of(SMALL.model_copy(update={"widest": 32, "lengths": [5, 9, 4]}), 2)
    assert len(one.merge(more)) == len(one), "every row is found again, equal to the last bit"


def test_no_interval_leaves_what_is_possible():
    table = table_of(SMALL.model_copy(update={"trials": 2}))
    for name, (least, most) in drawn_rows.bounds(table["length"].to_numpy()).items():
        assert (table[f"{name}_low"] >= least).all(), name
        assert (table[f"{name}_high"] <= most).all(), name
        assert (table[f"{name}_low"] < table[f"{name}_high"]).any(), name


def test_the_scales_hold_one_and_one_over_root_d_and_one_over_d_exactly():
    for points in range(3, 1002, 2):
        x = goldilocks.exponents(points)
        assert (x[0], x[points // 2], x[-1], x.size) == (1.0, 0.5, 0.0, points)
        assert (np.diff(x) < 0).all()
    assert goldilocks.dimensions(16) == [2, 4, 8, 16]


def test_one_over_root_d_is_the_scale_of_independent_vectors_and_one_over_d_that_of_equal_ones():
    chosen = settings(widest=1024, exponents=5, lengths=[16], correlations=[0.0, 1.0])
    found = goldilocks.table(goldilocks.monte_carlo(3, chosen, 2), chosen)
    at = {name: found[found["exponent"] == x].pivot(index="dimension", columns="correlation", values="zone")
          for name, x in zone.NAMED_EXPONENTS.items()}  # fmt: skip
    assert (at["by_root_d"][0.0] == "inside").all()
    assert (at["by_d"][0.0].loc[64:] == "outside").all()
    assert (at["unscaled"][0.0].loc[64:] == "outside").all()
    assert (at["by_root_d"][1.0].loc[64:] == "outside").all()
    assert (at["by_d"][1.0] == "inside").all()


def test_in_the_pipeline(smoke, monkeypatch):
    monkeypatch.chdir(smoke.folder)
    cells, edges = tables.read(goldilocks.OUTPUT, "goldilocks"), tables.read(goldilocks.ZONE, "goldilocks_zone")
    metrics, chosen = files.read_metrics("goldilocks"), tables.parameters(goldilocks.OUTPUT)["goldilocks"]
    assert len(cells) == chosen["exponents"] * len(edges)
    assert metrics["thresholds"] == {"least_gradient": 0.5, "least_discrimination": 2.0}
    widest = edges[edges["dimension"] == chosen["widest"]].set_index(["length", "correlation"])["decades"]
    for (n, rho), decades in widest.items():
        found = metrics[f"length_{n}"][zone.named(rho)]["zone"]["decades_at_widest_dimension"]
        assert found == pytest.approx(decades, rel=1e-5)


def test_the_map_shows_the_tables_values_and_edges_only_where_they_are_known():
    table = table_of(SMALL.model_copy(update={"widest": 64}))
    edges = zone.edges(table, 0.5, 2.0)
    with style.applied():
        panels = drawing.heat_maps(table, edges).axes
    assert panels[1].get_title() == "largest probability · n"
    *scales, lower, upper = panels[0].lines
    assert [line.get_ydata()[-1] for line in scales] == pytest.approx([1, 1 / 8, 1 / 64])
    shown = edges.query("length == 9 and correlation == 0")
    for line, name in ((lower, "lower"), (upper, "upper")):
        np.testing.assert_array_equal(np.isnan(line.get_ydata()), shown[f"{name}_beyond"])
        assert not shown[f"{name}_beyond"].all()
    at_one = table.query("exponent == 0 and length == 9 and correlation == 0")
    np.testing.assert_array_equal(panels[0].collections[0].get_array()[-1], at_one["relative_gradient"])


def test_cells_of_the_map_hold_their_own_scale_and_share_their_corners():
    x, y = drawing.corners(np.array([2, 4, 8]), np.array([1.0, 0.75, 0.5, 0.25, 0.0]))
    assert x.shape == y.shape == (6, 4)
    np.testing.assert_allclose(x[0], np.sqrt(2) * np.array([1, 2, 4, 8]))
    np.testing.assert_allclose(y[0], 1 / x[0])
    np.testing.assert_allclose(y[-1], 1)
    centre = np.sqrt(y[2, :-1] * y[3, 1:])
    np.testing.assert_allclose(centre, np.array([2, 4, 8]) ** -0.5, rtol=0.1)


def test_the_zones_title_says_which_scales_it_holds_at_the_largest_dimension():
    table = pd.DataFrame(
        {"dimension": d, "length": n, "correlation": rho, "lower": lower, "upper": upper}
        for n in (4, 8)
        for rho, lower, upper in ((0.0, 0.2, 1.0), (0.5, 0.1 if n == 4 else 0.3, 1.0), (1.0, 0.05, 0.2))
        for d in (2, 16)
    )
    with style.applied():
        figure = drawing.zones(table, 0.5, 2.0)
    assert figure.get_suptitle() == "At d = 16 the zone holds 1/√d for ρ = 0 and 1/d for ρ = 1"


def numbers(outside=0, halves=0):
    """What is looked at of the metrics of a length and correlation."""
    by_root_d = {"outside_from_dimension": outside, "widest_dimension_inside": outside // 4}
    unscaled = {"jacobian_halves_from_dimension": halves, "jacobian_not_halved_to_dimension": halves // 2}
    return {"by_root_d": by_root_d, "unscaled": unscaled}


def test_over_lengths_the_worst_counts():
    cells = table_of(settings(widest=64, exponents=5, lengths=[4, 9], correlations=[0.0, 0.3], trials=30))
    by_length = {
        "length_4": {"rho_0": numbers(halves=64), "rho_0_3": numbers(512)},
        "length_9": {"rho_0": numbers(), "rho_0_3": numbers(128)},
    }
    found = zone.over_lengths(cells, by_length)
    assert found["by_root_d_outside_from_dimension"] == {"rho_0": 0, "rho_0_3": 128}
    assert found["by_root_d_inside_to_dimension"] == {"rho_0": 0, "rho_0_3": 32}
    assert found["jacobian_not_halved_to_dimension"] == {"length_4": 32, "length_9": 0}
    assert found["jacobian_halves_from_dimension"] == {"length_4": 64, "length_9": 0}
    unscaled = cells.query("correlation == 0 and exponent == 0")
    for name in zone.GRADIENTS:
        growths = [zone._largest_growth(unscaled.query(f"length == {n}"), f"relative_{name}") for n in (4, 9)]
        worst = {end: max(e[end] for e in growths) for end in ("value", "low", "high")}
        assert found["independent"][f"largest_growth_of_{name}_unscaled"] == pytest.approx(worst | {"n": 30})
    worst = {f"largest_{name}_unscaled": (0, 64, f"relative_{name}", "max") for name in zone.GRADIENTS} | {
        "largest_discrimination_by_d": (1, 64, "discrimination", "max"),
        "lowest_discrimination_by_root_d": (0.5, 2, "discrimination", "min"),
        "lowest_gradient_by_root_d": (0.5, 2, "relative_gradient", "min"),
        "lowest_jacobian_by_root_d": (0.5, 2, "relative_jacobian", "min"),
    }
    for name, (exponent, least, column, pick) in worst.items():
        rows = cells.query(f"correlation == 0 and exponent == {exponent} and dimension >= {least}")
        value, low, high = rows[list(zone.with_interval(column))].agg(pick)
        assert found["independent"][name] == {"value": value, "low": low, "high": high, "n": 30}, name
    assert "independent" not in zone.over_lengths(cells[cells["correlation"] > 0], by_length)
