"""How figures are written: the same bytes, legible, by two processes, and in fewer bytes that look the same."""

import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import vl_convert
from matplotlib.figure import Figure
from PIL import Image
from test_figures import dynamics

from goldilocks.plotting import batch, compact, model5, style


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


@pytest.fixture(scope="module")
def written():
    """A figure's SVG as Matplotlib writes it, and in fewer bytes: curves, markers, overlapping areas, a picture."""
    figure, whole = Figure(figsize=(4, 3)), io.StringIO()
    with style.applied():
        left, right = figure.subplots(1, 2)
        x = np.linspace(0, 7, 200)
        left.plot(x, np.sin(x), "o-", ms=3, label="sin(x) - wave")
        left.plot(x, np.where(np.arange(200) % 2, 0.0, 0.5), lw=0.5)
        left.fill_between(x, np.cos(x), 2, alpha=0.3)
        left.fill_between(x, np.sin(x), 1, alpha=0.3)
        left.set_title("Curves of −1 to 1 -- both")
        left.legend()
        right.pcolormesh(np.random.default_rng(0).uniform(size=(20, 30)), rasterized=True)
        figure.savefig(whole, format="svg", dpi=100, metadata={"Date": None, "Creator": None})
    return whole.getvalue(), compact.compact(whole.getvalue(), "A title", "What <is> drawn & how")


def pixels(svg):
    """Red, green and blue of each."""
    with Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=2))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_it_looks_the_same_in_half_the_bytes(written):
    whole, short = written
    assert len(short) < 0.6 * len(whole)
    before, after = map(pixels, written)
    assert before.shape == after.shape
    assert before.std() > 30
    difference = np.abs(before - after).max(-1)  # of 255
    assert difference.max() < 80
    assert difference.mean() < 1.5


def test_texts_and_notes_stay_as_they_are_and_nothing_refers_to_nothing(written):
    notes = [re.findall(r"<!-- (.*?) -->", text) for text in written]
    assert notes[0] == notes[1]
    assert "Curves of −1 to 1 - - both" in notes[1]
    root = ElementTree.fromstring(written[1])
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', written[1]))
    assert referred == {one for one in ids if not one.startswith("image")}
    assert [one.text for one in root[:2]] == ["A title", "What <is> drawn & how"]
    assert "<style" not in written[1], "it would hold for the whole page that the figure is put in"


def test_a_line_keeps_its_ends_and_corners():
    corners = np.array([0, 10j, 10 + 10j, 0])
    assert (compact.straightened(corners) == corners).all()
    assert compact.straightened(np.array([0, 5 + 0.01j, 10])).tolist() == [0, 10]
    assert compact.path("M 0 0 M 1 1 L 2 1 L 2 3 z M 5 5", 10, 10) == "M 0 0 M 1 1 h 1 v 2 z M 5 5", "each move its own"


@pytest.mark.parametrize("d", ["M 1 2 A 3 4 0 0 1 5 6", "M 1 2 l 3 4", "M nan 1"])
def test_path_data_of_others_are_refused(d):
    with pytest.raises(ValueError, match="convert"):
        compact.path(d, compact.UNITS, compact.UNITS)
