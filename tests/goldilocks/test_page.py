import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from goldilocks.core import tables
from goldilocks.page import drawing, typeset
from goldilocks.page.charts import base
from goldilocks.plotting import palette, style
from stages import report


def contrast(*colours):
    """The ratio of WCAG of two colours like #1b1f24."""
    dark, light = sorted(style.luminance(np.array(to_rgb(colour))) for colour in colours)
    return (light + 0.05) / (dark + 0.05)


def variables(theme):
    """The CSS variables of a theme."""
    css = (Path(drawing.__file__).parent / "style.css").read_text("utf-8")
    root = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme == "dark"]
    return dict(re.findall(r"--(\w+): (#\w+);", root + base.css_colours(theme == "dark")))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_have_a_contrast_of_3_and_texts_of_4_and_a_half_in_both_themes(theme):
    colours = variables(theme)
    assert len(base.COLOURS) == len(set(base.COLOURS.values())) > 8
    for ground in ("page", "panel"):
        for name in base.COLOURS.values():
            assert contrast(colours[name], colours[ground]) >= 3, (name, ground)
        for name in ("text", "soft", "link"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def test_lines_of_figures_have_a_contrast_of_3_on_white():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    colours = {name: value for name, value in vars(palette).items() if isinstance(value, str) and value[0] == "#"}
    assert {name for name, value in colours.items() if contrast(value, "#ffffff") < 3} == {"PALE"}
    assert palette.ORDERED_TO < 0.6


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0, 3, "0"), (13.6, 3, "13.6"), (0.7728, 2, "0.77"), (0.99996, 3, "1.00"), (2048, 3, "2,048"),
        (-0.25, 3, "\u22120.250"), (4.785e6, 3, "4.78 × 10⁶"), (-3.6e-4, 2, "\u22123.6 × 10⁻⁴"), (1e-9, 3, "1 × 10⁻⁹"),
    ],
)  # fmt: skip
def test_numbers_have_few_digits_a_true_minus_and_powers_of_ten(value, digits, shown):
    assert typeset.number(value, digits).replace(typeset.SPACE, " ") == shown


def test_shares_are_never_rounded_to_all_and_the_sign_of_per_cent_stays_with_its_number():
    shown = [typeset.percent(share) for share in (0, 1, 0.9999, 0.7728, 0.0229, 2.54)]
    assert shown == [f"{number}\u00a0%" for number in ("0", "100", "99.99", "77", "2.3", "254")]


def test_estimates_have_their_intervals_with_the_same_decimals():
    moving = {"value": 0.007, "low": -0.0123, "high": 0.0345}
    assert typeset.estimate(moving, 2, sign=True) == "+0.007 [\u22120.012, +0.035]"
    assert typeset.percents({"value": 0.57, "low": 0.32, "high": 0.82}) == "57 [32, 82]\u00a0%"
    assert typeset.percents({"value": 0.36, "low": 0.0, "high": 0.74}) == "36 [0, 74]\u00a0%"
    assert typeset.estimate({"value": 1.0, "low": 1.0, "high": 1.0}) == "1"
    assert typeset.estimate({"value": 0.17, "low": -0.0046, "high": 0.34}, 2) == "0.17 [\u22120.005, 0.34]"
    assert typeset.estimate({"value": 0.17, "low": -1e-9, "high": 0.34}, 2) == "0.17 [0.000, 0.34]"
    assert typeset.estimate({"value": None, "low": None, "high": None}) == ""


def test_what_claims_note_becomes_sentences():
    assert typeset.typeset("d = 128 with 16 keys, 2048 with 32") == "d = 128 with 16 keys, 2,048 with 32"
    assert typeset.typeset("costs -3.763 [-16.24, 8.714] (from 0.3 on), ±5% of S7") == (
        "costs \u22123.76 [\u221216.2, 8.71] (from 0.3 on), ±5\u00a0% of S7"
    )


def test_the_map_at_a_glance_is_the_zone_of_the_table(smoke):
    zone = tables.read(smoke.folder / "data/goldilocks_zone.parquet", "goldilocks_zone")
    zone = zone[(zone["length"] == zone["length"].max()) & (zone["correlation"] == 0)]
    svg = drawing.glance(zone)
    corners = np.array(
        [pair.split(",") for pair in re.search(r'polygon class="zone" points="(.*?)"', svg)[1].split()], float
    )
    some = zone[zone["lower"] <= zone["upper"]]
    lower, upper = corners[: len(some), 1], corners[len(some) :, 1][::-1]
    assert len(lower) == len(upper) == len(some)
    assert (lower >= upper).all(), "large scales are above"
    heights, scales = np.concatenate([lower, upper]), np.concatenate([some["lower"], some["upper"]])
    assert np.corrcoef(heights, np.log(scales))[0, 1] < -0.9999, "logarithmic"


KEPT = {"value": 2.5, "low": 2.25, "high": 2.75, "requirements": [{"subject": "σ of all β"}]}
GROWTH = {
    "gate": [{"subject": "what attention adds", "value": 0.1, "low": -0.2, "high": 0.4, "needed": "from 0.3 on",
              "outcome": "met"}],
    "requirements": [
        {"subject": "the growth of σ", "value": 2.54, "low": 1.9, "high": 3.18, "needed": "above -1", "outcome": "met"},
        {"subject": "σ of its rest", "value": 1e-9, "low": None, "high": None, "needed": "0 to 1e-09", "outcome": None},
    ],
    "reason": "", "notes": ["cosine to the start 0.2946 [0.2364, 0.3527]"], "kept": KEPT | {"value": None},
}  # fmt: skip


def told(claim, why=""):
    """What the page says a verdict rests on, and what stands beside it."""
    part = report.environment().get_template("macros.html.j2").module
    return part.evidence(claim | {"why": why}), re.findall("<li>(.*?)</li>", part.beside(claim))


def test_a_requirement_is_a_sentence_with_its_estimate_and_what_it_needed():
    evidence, notes = told(GROWTH)
    assert evidence == (
        "The growth of σ is 2.54 [1.90, 3.18]; needed: above \u22121. "
        "σ of its rest is 1\u00a0×\u00a010⁻⁹; needed: 0 to 1\u00a0×\u00a010⁻⁹."
    )
    assert notes == ["cosine to the start 0.295 [0.236, 0.353]"]
    assert report.unjudged(GROWTH) == ""


def test_a_claim_that_could_not_be_judged_tells_why_and_what_it_would_need():
    shut = GROWTH | {
        "gate": [each | {"outcome": outcome} for each in GROWTH["gate"] for outcome in ("met", "undecided", "refuted")],
        "requirements": [each | {"value": None} for each in GROWTH["requirements"][:1]],
    }
    one = "what attention adds is 0.100 [\u22120.200, 0.400] (needed: from 0.3 on)"
    why = report.unjudged(shut)
    assert why == f"The model is not shown to have learned to attend: {one} and {one}."
    assert told(shut, why)[0] == f"{why} The growth of σ would have to be above \u22121."


def test_a_claim_that_was_not_measured_here_tells_the_kept_runs_or_why():
    missing = GROWTH | {"gate": [], "requirements": [], "reason": "needs the control"}
    assert told(missing)[0] == "It is not measured: needs the control."
    evidence, notes = told(missing | {"kept": KEPT})
    assert evidence == "In the kept run σ of all β is 2.50 [2.25, 2.75]."
    assert notes[0] == "needs the control"
