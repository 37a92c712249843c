"""How figures are written: the same bytes, legible, by two processes."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from test_figures import dynamics

from goldilocks.plotting import batch, model5, style


@pytest.fixture(autouse=True)
def styled():
    with style.applied():
        yield


def test_the_same_figure_has_the_same_bytes_whatever_the_users_style():
    written = set()
    for change in ({}, {"axes.facecolor": "red", "axes.labelsize": 40}):
        with mpl.rc_context(change), style.applied():
            written.add(batch.svg(model5.std_by_part(dynamics()), 100))
    assert len(written) == 1


def test_labels_of_logarithmic_axes_are_no_formulas():
    labels = [batch.power_of_ten(value) for value in (1e-6, 0.01, 1, 100, 1e5, -1e4, 0, 5)]
    assert labels == ["10⁻⁶", "0.01", "1", "100", "10⁵", "\u221210⁴", "0", ""]
    axes = model5.by_block(dynamics(), "Title", {"std_q": "y"}, log=True).axes[0]
    batch.prepare(axes)
    assert "$" not in "".join(label.get_text() for label in axes.get_yticklabels())


def test_labels_measured_once_stay_in_the_figure():
    figure = model5.by_block(dynamics(), "Title", {"std_q": "first", "std_k": "second"})
    measure = [axes.get_tightbbox for axes in figure.axes]
    batch.svg(figure, 100)
    for axes, measured in zip(figure.axes, measure, strict=True):
        told, found = axes.get_tightbbox().extents, measured().extents
        np.testing.assert_allclose(told, found, atol=2)
        assert (found >= -1).all()
        assert (found[2:] <= figure.bbox.extents[2:] + 1).all()


def test_figures_are_written_by_name_and_what_could_not_be_is_told(tmp_path):
    def fail():
        raise OSError(28, "No space left on device")

    batch.draw_all(dict.fromkeys("abc", Figure), tmp_path, 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg", "c.svg"]
    with pytest.raises(OSError, match="No space left on device"):
        batch.draw_all({"a": Figure, "b": fail}, tmp_path, 50)
