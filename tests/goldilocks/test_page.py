"""What the page shows: colours, numbers, evidence, and the frames of its interactive charts."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from safetensors.torch import save_file as save_torch

from goldilocks.checkpoints.reference import GPT2, of_gpt2
from goldilocks.core import tables
from goldilocks.page import drawing, typeset
from goldilocks.page.charts import base, layernorm, qkv, scaling
from goldilocks.page.charts.base import Control, Explorer
from goldilocks.plotting import palette, style
from goldilocks.softmax import statistics
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


def read(explored):
    """An explorer as the page's script gets it."""
    return json.loads(base.packed(explored))


def frame(explored, **chosen):
    """The columns that the script shows for positions of the controls."""
    found, index = read(explored), 0
    for control in explored.controls:
        if control.sets is None:
            index = index * len(control.values) + chosen[control.name]
    return found["shared"] | {name: columns[index] for name, columns in found["frames"].items()}


def test_frames_stand_in_the_order_of_the_controls_beside_what_they_share():
    controls = (Control("a", "a", "xyz"), Control("s", "s", "pq", sets=(0, 1)), Control("b", "b", "uv"))
    explored = Explorer("e", "t", controls, lambda a, b: {"at": [a, b]}, (), (), {"same": [1.23456789]})
    found = read(explored)
    assert found["frames"]["at"] == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert frame(explored, a=1, b=1)["at"] == [1, 1]
    assert found["shared"] == {"same": [1.235]}
    assert [control["sets"] for control in found["controls"]] == [None, [0, 1], None]


def test_nothing_in_a_frame_can_end_its_script_and_nothing_is_no_number():
    explored = Explorer("e", "t", (), lambda: {}, (), (), {"x": ["</script><b>"], "y": [float("nan")]})
    assert "<" not in base.packed(explored)
    assert read(explored)["shared"] == {"x": ["</script><b>"], "y": [None]}


def test_bytes_keep_numbers_to_a_half_percent_of_the_largest_and_few_words_are_digits():
    values = np.random.default_rng(0).uniform(0, 7.3, 1000)
    column = base.eight_bits(values)
    back = np.frombuffer(base64.b64decode(column["bytes"]), np.uint8) * column["unit"]
    assert np.abs(back - values).max() <= values.max() / 400
    assert base.eight_bits(np.zeros(3))["bytes"] == base64.b64encode(bytes(3)).decode()
    column = base.words(["b", "a", "b"])
    assert [column["words"][int(digit)] for digit in column["digits"]] == ["b", "a", "b"]
    assert base.words([str(i) for i in range(11)]) == [str(i) for i in range(11)]


@pytest.fixture(scope="module")
def query():
    return scaling.one_query(2020, at=50, keys=50)


def test_one_query_grows_entry_by_entry_and_as_the_root_of_the_dimension(query):
    logits = read(query)["frames"]["logit"]
    dimensions = [int(value.replace(",", "")) for value in query.controls[0].values]
    assert (dimensions[:4], dimensions[-1]) == ([2, 3, 4, 5], 4096)
    unscaled, by_root = (np.array(logits[scaled :: len(query.controls[1].values)]) for scaled in (0, 1))
    np.testing.assert_allclose(by_root, unscaled / np.sqrt(dimensions)[:, None], rtol=2e-3, atol=1e-3)
    assert 0.8 < by_root[-20:].std() < 1.2
    assert (np.abs(np.diff(unscaled[:2], axis=0)) > 0).all()
    again = [base.packed(scaling.one_query(seed, at=50, keys=50)) for seed in (2020, 2021)]
    assert again[0] == base.packed(query) != again[1]


def test_it_opens_at_the_articles_dimension_with_a_typical_query_beside_the_mean_of_many(query):
    start = {control.name: control.start for control in query.controls}
    assert query.controls[0].values[start["dimension"]] == "50"
    shown = frame(query, **start)
    p = statistics.softmax(np.array(shown["logit"]))
    even = np.full(50, 0.02)
    expected = {
        "largest": p.max(),
        "loss_gradient": statistics.gradient_norm(p) / statistics.gradient_norm(even),
        "diagonal": (1 - (p**2).sum()) / 0.98,
        "jacobian": np.linalg.norm(np.diag(p) - np.outer(p, p)) / np.linalg.norm(np.diag(even) - np.outer(even, even)),
    }
    for name, value in expected.items():
        assert shown[name] == pytest.approx(value, rel=5e-3), name
        assert shown[name] == pytest.approx(shown[f"mean_{name}"], rel=0.1), "typical"
    drawn = statistics.softmax(np.sqrt(50) * np.random.default_rng(0).normal(size=(20_000, 50)))  # q of length √50
    assert shown["mean_largest"] == pytest.approx(drawn.max(axis=1).mean(), abs=0.03)


def test_the_map_shows_the_tables_cells(smoke):
    cells = tables.read(smoke.folder / "data/goldilocks.parquet", "goldilocks")
    explored = scaling.zone_map(cells, {"least_gradient": 0.5, "least_discrimination": 2.0})
    n, rho = cells["length"].max(), cells["correlation"].max()
    last = len(explored.controls[1].values) - 1, len(explored.controls[2].values) - 1
    shown = frame(explored, quantity=1, length=last[0], correlation=last[1])
    rows = cells[(cells["length"] == n) & (cells["correlation"] == rho)].sort_values(["dimension", "exponent"])
    np.testing.assert_allclose(shown["value"], rows["largest_probability"], atol=6e-4)
    assert shown["dimension"] == rows["dimension"].tolist()
    zone = shown["zone"]
    assert [zone["words"][int(digit)] for digit in zone["digits"]] == rows["zone"].tolist()


def test_histograms_by_head_add_up_to_the_tables(smoke):
    run = smoke.folder / "data/model5/seed-0"
    made_with = tables.parameters(run / "histograms.parquet")["train"]
    explored = qkv.histograms(run, made_with["histogram_limit"], made_with["heads"])
    table = tables.read(run / "histograms.parquet", "histograms")
    steps = sorted(table["step"].unique())
    last = table[(table["step"] == steps[-1]) & (table["block"] == 1) & (table["part"] == "k")]
    counts = last[np.isfinite(last["left"]) & np.isfinite(last["right"])]["count"].to_numpy()
    coarse = counts.reshape(qkv.BINS, -1).sum(axis=1) / last["count"].sum() * 100
    shown = frame(explored, step=len(steps) - 1, block=1, part=1, head=0)
    shares = np.frombuffer(base64.b64decode(shown["share"]["bytes"]), np.uint8) * shown["share"]["unit"]
    np.testing.assert_allclose(shares, coarse, atol=coarse.max() / 500)
    assert shown["beyond"] == pytest.approx(100 - coarse.sum(), rel=5e-3, abs=1e-3)
    heads = [frame(explored, step=0, block=0, part=0, head=h)["sigma"] for h in (1, 2)]
    noted = pd.read_parquet(run / "weights.parquet").query("step == 0 and block == 0 and part == 'q'")
    assert heads == pytest.approx(noted.set_index("head").loc[[0, 1], "std"].tolist(), rel=5e-3)


def test_snapshots_in_bf16_are_read_and_blocks_are_in_the_order_of_their_numbers(tmp_path):
    drawn = torch.randn(6, 2)
    save_torch({"blocks.0.attn.qkv.weight": drawn.bfloat16()}, tmp_path / "low.safetensors")
    save_torch({f"blocks.{i}.attn.qkv.weight": drawn + i for i in (10, 2)}, tmp_path / "full.safetensors")
    (low,) = qkv.snapshot(tmp_path / "low.safetensors")
    np.testing.assert_array_equal(low, drawn.bfloat16().float().numpy())
    offsets = [float(of_block[0, 0] - drawn[0, 0]) for of_block in qkv.snapshot(tmp_path / "full.safetensors")]
    assert offsets == pytest.approx([2, 10], rel=1e-5)


def test_gpt2_comes_first_with_the_figures_measured_on_it_beside_the_models_of_the_run():
    values = pd.DataFrame(
        {"model": "mine", "block": [0, 0, -1], "place": ["attention input", "attention input", "final"],
         "kind": "gamma", "value": [1.0, 3.0, np.nan]}
    )  # fmt: skip
    explored = layernorm.by_block(values, 0.2, 0.4)
    assert list(explored.controls[0].values) == [*palette.GPT2_SIZES.values(), "mine"]
    small = frame(explored, model=0, kind=0)
    assert (small["block"][0], small["block"][-1], len(small["block"])) == ("0", "after", 25)
    assert sum(small["n"]) == of_gpt2("n", "gamma")
    assert max(small["max"]) == pytest.approx(of_gpt2("max", "gamma"), rel=1e-3)
    assert 0.1 < small["q50"][0] < 0.4
    mine = frame(explored, model=4, kind=0)
    assert (mine["q50"], mine["n"], mine["place"]) == ([2.0], [2], ["attention input"]), "and what is finite"
    assert frame(explored, model=4, kind=1)["q50"] == []


@pytest.mark.parametrize("kind", ["gamma", "beta"])
@pytest.mark.parametrize("model", GPT2)
def test_quantiles_of_gpt2_by_norm_agree_with_its_reference_figures(model, kind):
    table = pd.read_csv(layernorm.GPT2).query("model == @model and kind == @kind")
    assert table["n"].sum() == of_gpt2("n", kind, model)
    assert table["min"].min() == pytest.approx(of_gpt2("min", kind, model), rel=1e-3)
    assert table["max"].max() == pytest.approx(of_gpt2("max", kind, model), rel=1e-3)
    quantiles = table[list(layernorm.QUANTILES)].to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert table["q50"].min() < of_gpt2("q50", kind, model) < table["q50"].max()
