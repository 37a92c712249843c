import numpy as np
import pandas as pd
import pytest

from stages.drawing import norms, style

NAMES = {
    "one_pair", "sweep", "sweep_ratio", "softmax", "layernorm_histograms", "layernorm_by_block", "losses",
    "std_by_block", "kurtosis_by_block", "attention_entropy", "qkv_histograms",
}  # fmt: skip


def test_every_figure_is_drawn_without_date_or_path(smoke):
    found = {path.stem: path.read_text("utf-8") for path in (smoke.folder / "reports" / "figures").iterdir()}
    assert set(found) == NAMES
    for name, svg in found.items():
        assert svg.startswith("<?xml"), name
        assert "<dc:date>" not in svg, name
        assert str(smoke.folder) not in svg, name
        assert len(svg) < 700_000, name


def test_nothing_outside_a_histograms_axis_is_dropped():
    values = np.array([-0.5, 0.0, 0.3, 3.0, 17.4, 9.0])
    counts, below, above = norms.clipped_counts(values, np.linspace(0, 3, 100))
    assert (counts.sum(), below, above) == (3, 1, 2)


def test_the_same_figure_has_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "model": "m",
            "block": np.repeat([0, 1, -1], 40),
            "norm": np.repeat(["ln_1", "ln_2", "ln_f"], 40),
            "kind": np.tile(["gamma", "beta"], 60),
            "value": rng.normal(size=120),
        }
    )
    for name in "ab":
        with style.applied():
            style.save(norms.by_block(table, 7), tmp_path / name, 100)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_users_own_style_changes_nothing(rebuilt):
    before = {path.name: path.read_bytes() for path in (rebuilt.folder / "reports" / "figures").iterdir()}
    (rebuilt.folder / "matplotlibrc").write_text("axes.facecolor: red\naxes.labelsize: 40\n")
    assert rebuilt.stage("figures", "data/model5/seed-0").returncode == 0
    after = {path.name: path.read_bytes() for path in (rebuilt.folder / "reports" / "figures").iterdir()}
    assert after == before


@pytest.mark.parametrize("n", [1, 2, 12])
def test_ordered_colours_are_distinct(n):
    assert len(set(style.ordered_colours(n))) == n
