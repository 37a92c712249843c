"""How figures are written: the same bytes, legible, by two processes."""

import multiprocessing

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


def test_the_same_figure_has_the_same_bytes_whatever_the_users_style_and_however_often_ticks_are_placed(monkeypatch):
    written = set()
    for change in ({}, {"axes.facecolor": "red", "axes.labelsize": 40}):
        with mpl.rc_context(change), style.applied():
            written.add(batch.svg(model5.std_by_part(dynamics()), 100))
        monkeypatch.setattr(batch, "remember", lambda *_: None)
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


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError(28, "No space left on device"), "No space left on device"), (IndexError(), "process ended with 1")],
)
def test_what_the_second_process_can_not_draw_is_told(tmp_path, error, told):
    drawn = multiprocessing.get_context("fork").Event()

    def draw():
        if multiprocessing.parent_process() is None:
            assert drawn.wait(60)  # so that the second process takes one, too
            return Figure()
        drawn.set()
        raise error

    batch.draw_all(dict.fromkeys("abc", Figure), tmp_path, 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg", "c.svg"]
    with pytest.raises((OSError, batch.UserError), match=told):
        batch.draw_all(dict.fromkeys("abc", draw), tmp_path, 50)
