"""What the figures of the ablations draw is what the tables and metrics hold."""

import numpy as np
import pandas as pd
import pytest

from goldilocks.plotting import ablations, style


@pytest.fixture(autouse=True)
def styled():
    with style.applied():
        yield


def estimate(value, reach):
    return {"value": value, "low": value - reach, "high": value + reach, "n": 3}


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
