import base64
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file as save_torch

from goldilocks.core import tables
from goldilocks.page.charts import base, layernorm, qkv, scaling
from goldilocks.page.charts.base import Control, Explorer


def frames(explored):
    """An explorer as the page's script gets it, its frames one by one."""
    found = json.loads(base.packed(explored))
    number = max((len(columns) for columns in found["frames"].values()), default=1)
    return found | {"frames": [{name: columns[i] for name, columns in found["frames"].items()} for i in range(number)]}


def position(explored, **chosen):
    """The index of a frame, as the script counts it."""
    index = 0
    for control in explored.controls:
        if control.sets is None:
            index = index * len(control.values) + chosen[control.name]
    return index


def test_frames_stand_in_the_order_of_the_controls_beside_what_they_share():
    controls = (Control("a", "a", "xyz"), Control("s", "s", "pq", sets=(0, 1)), Control("b", "b", "uv"))
    explored = Explorer("e", "t", controls, lambda a, b: {"at": [a, b]}, (), (), {"same": [1.23456789]})
    found = frames(explored)
    assert [frame["at"] for frame in found["frames"]] == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert found["frames"][position(explored, a=1, b=1)]["at"] == [1, 1]
    assert found["shared"] == {"same": [1.23457]}
    assert [control["sets"] for control in found["controls"]] == [None, [0, 1], None]


def test_nothing_in_a_frame_can_end_its_script_and_nothing_is_no_number():
    explored = Explorer("e", "t", (), lambda: {}, (), (), {"x": ["</script><b>"], "y": [float("nan")]})
    assert "<" not in base.packed(explored)
    assert frames(explored)["shared"] == {"x": ["</script><b>"], "y": [None]}


def test_bytes_keep_numbers_to_a_half_percent_of_the_largest_and_few_words_are_digits():
    values = np.random.default_rng(0).uniform(0, 7.3, 1000)
    column = base.eight_bits(values)
    back = np.frombuffer(base64.b64decode(column["bytes"]), np.uint8) * column["unit"]
    assert np.abs(back - values).max() <= values.max() / 509
    assert base.eight_bits(np.zeros(3))["bytes"] == base64.b64encode(bytes(3)).decode()
    column = base.words(["b", "a", "b"])
    assert [column["words"][int(digit)] for digit in column["digits"]] == ["b", "a", "b"]
    assert base.words([str(i) for i in range(11)]) == [str(i) for i in range(11)]


def test_one_query_grows_entry_by_entry_and_as_the_root_of_the_dimension():
    explored = scaling.one_query(2020)
    found = frames(explored)["frames"]
    dimensions = [frame["dimension"] for frame in found]
    assert [int(value.replace(",", "")) for value in explored.controls[0].values] == dimensions
    assert (dimensions[:4], dimensions[-1]) == ([2, 3, 4, 5], 4096)
    spread = [np.std(np.array(frame["product"]) / np.sqrt(frame["dimension"])) for frame in found[-20:]]
    assert 0.5 < np.mean(spread) < 1.5
    steps = np.diff([frame["product"] for frame in found[:2]], axis=0)
    assert (np.abs(steps) > 0).all()
    assert base.packed(scaling.one_query(2021)) != base.packed(explored)


def test_the_map_shows_the_tables_cells(smoke):
    cells = tables.read(smoke.folder / "data/goldilocks.parquet", "goldilocks")
    explored = scaling.zone_map(cells, {"least_gradient": 0.5, "least_discrimination": 2.0})
    found = frames(explored)
    n, rho = cells["length"].max(), cells["correlation"].max()
    last = len(explored.controls[1].values) - 1, len(explored.controls[2].values) - 1
    frame = found["shared"] | found["frames"][position(explored, quantity=1, length=last[0], correlation=last[1])]
    rows = cells[(cells["length"] == n) & (cells["correlation"] == rho)].sort_values(["dimension", "exponent"])
    np.testing.assert_allclose(frame["value"], rows["largest_probability"], rtol=1e-5)
    assert frame["dimension"] == rows["dimension"].tolist()
    zone = frame["zone"]
    assert [zone["words"][int(digit)] for digit in zone["digits"]] == rows["zone"].tolist()


def test_histograms_by_head_add_up_to_the_tables(smoke):
    run = smoke.folder / "data/model5/seed-0"
    made_with = tables.parameters(run / "histograms.parquet")["train"]
    explored = qkv.histograms(run, made_with["histogram_limit"], made_with["heads"])
    found = frames(explored)
    table = tables.read(run / "histograms.parquet", "histograms")
    steps = sorted(table["step"].unique())
    last = table[(table["step"] == steps[-1]) & (table["block"] == 1) & (table["part"] == "k")]
    counts = last[np.isfinite(last["left"]) & np.isfinite(last["right"])]["count"].to_numpy()
    coarse = counts.reshape(qkv.BINS, -1).sum(axis=1) / last["count"].sum() * 100
    frame = found["shared"] | found["frames"][position(explored, step=len(steps) - 1, block=1, part=1, head=0)]
    shares = np.frombuffer(base64.b64decode(frame["share"]["bytes"]), np.uint8) * frame["share"]["unit"]
    np.testing.assert_allclose(shares, coarse, atol=coarse.max() / 500)
    assert frame["beyond"] == pytest.approx(100 - coarse.sum(), abs=1e-3)
    heads = [found["frames"][position(explored, step=0, block=0, part=0, head=h)]["sigma"] for h in (1, 2)]
    noted = pd.read_parquet(run / "weights.parquet").query("step == 0 and block == 0 and part == 'q'")
    assert heads == pytest.approx(noted.set_index("head").loc[[0, 1], "std"].tolist(), rel=1e-3)


def test_snapshots_in_bf16_are_read_and_blocks_are_in_the_order_of_their_numbers(tmp_path):
    drawn = torch.randn(6, 2)
    save_torch({"blocks.0.attn.qkv.weight": drawn.bfloat16()}, tmp_path / "low.safetensors")
    save_torch({f"blocks.{i}.attn.qkv.weight": drawn + i for i in (10, 2)}, tmp_path / "full.safetensors")
    (low,) = qkv.snapshot(tmp_path / "low.safetensors")
    np.testing.assert_array_equal(low, drawn.bfloat16().float().numpy())
    offsets = [float(of_block[0, 0] - drawn[0, 0]) for of_block in qkv.snapshot(tmp_path / "full.safetensors")]
    assert offsets == pytest.approx([2, 10], rel=1e-5)


def test_norms_of_a_kept_run_stand_beside_those_surveyed():
    def table(model, **more):
        return pd.DataFrame({"model": model, "block": [0, 0, -1], "kind": "gamma", "value": [1.0, 3.0, 5.0]} | more)

    kept = table("gpt2", norm=["ln_1", "ln_1", "ln_f"])
    explored = layernorm.by_block(table("mine", place=["attention input", "attention input", "final"]), kept)
    assert list(explored.controls[0].values) == ["mine", "gpt2, in the kept run"]
    found = frames(explored)
    frame = found["shared"] | found["frames"][position(explored, model=1, kind=0)]
    assert (frame["block"], frame["place"]) == (["0", "after"], ["attention input", "final"])
    assert frame["median"] == [2.0, 5.0]
    assert found["frames"][position(explored, model=0, kind=1)]["median"] == []
