import base64
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file as save_torch

from goldilocks.checkpoints.reference import GPT2, of_gpt2
from goldilocks.core import tables
from goldilocks.page.charts import base, layernorm, qkv, scaling
from goldilocks.page.charts.base import Control, Explorer
from goldilocks.plotting.palette import GPT2_SIZES
from goldilocks.softmax import statistics


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
    assert list(explored.controls[0].values) == [*GPT2_SIZES.values(), "mine"]
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
