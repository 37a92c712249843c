"""Checkpoints of a training in their order, read by ranges, from disk and from a hub's revisions; what they show."""

import json
import time

import numpy as np
import pytest
from hub_server import large, point_huggingface_hub_at, serving
from safetensors.numpy import save_file
from test_models_weights import checkpoint, drawn

import goldilocks as g
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import HEAD, Tally
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.core.cli import UserError
from goldilocks.models import claims
from goldilocks.models.weights import step_of, weights


def test_a_series_stands_in_the_order_of_its_steps(tmp_path):
    one, two, ten = (checkpoint(tmp_path / f"checkpoint-{n}", drawn(seed=n)) for n in (1, 2, 10))
    assert weights([ten, one, two])["step"].unique().tolist() == [1, 2, 10]
    (two / "trainer_state.json").write_text('{"global_step": 20}', "utf-8")
    assert weights([ten, one, two])["checkpoint"].unique().tolist() == [str(one), str(ten), str(two)]
    last, first = (checkpoint(tmp_path / name, drawn()) for name in ("last", "first"))
    assert weights([first, last])["checkpoint"].unique().tolist() == [str(first), str(last)]
    (two / "trainer_state.json").write_text('{"global_step": 10}', "utf-8")
    with pytest.raises(UserError, match="both of step 10"):
        weights([ten, two])


@pytest.mark.parametrize(
    ("argument", "file", "step"),
    [
        ("run/checkpoint-500", None, 500),
        ("run/step-000050.safetensors", "step-000050.safetensors", 50),
        ("owner/name@step143000", None, 143000),
        ("owner/name3@main", None, None),
        ("step7=run/last", None, 7),
        ("run/epoch2-step300", None, 300),
        ("run/global_step0012", None, 12),
        ("run/footsteps", None, None),
    ],
)
def test_a_step_is_told_by_the_name(tmp_path, argument, file, step):
    assert step_of(argument, Checkpoint("", LocalFolder(tmp_path, Tally()), file)) == step


def test_what_is_no_series_is_told_in_one_line(tmp_path):
    good = checkpoint(tmp_path / "step1", drawn())
    with pytest.raises(UserError, match="which the first checkpoint has"):
        weights([good, checkpoint(tmp_path / "step4", drawn(blocks=1))])
    with pytest.raises(UserError, match="no checkpoint"):
        weights([])
    neox = tmp_path / "neox"
    neox.mkdir()
    save_file({"layers.0.attention.query_key_value.weight": np.ones((24, 8), np.float32)}, neox / "model.safetensors")
    with pytest.raises(UserError, match=r"no config\.json says how many"):
        weights([neox])
    for config in (
        {"model_type": "gpt_neox", "num_attention_heads": 1000},
        {"model_type": "falcon", "new_decoder_architecture": True, "num_attention_heads": 2, "num_kv_heads": 4},
        {"model_type": "phi3", "num_attention_heads": 1000, "num_key_value_heads": 10},
        {"model_type": "gpt_neox", "num_attention_heads": 5},
    ):
        (neox / "config.json").write_text(json.dumps(config), "utf-8")
        with pytest.raises(UserError, match=r"does not divide into Q, K and V as config\.json says"):
            weights([neox])


WIDE, BLOCKS = 256, 3


def neox(folder, scale, noise=10**6):
    """A folder like GPT-NeoX's with fused projections that are far from the norms, and much else."""
    generator = np.random.default_rng(0)
    tensors = {"embed_out.weight": np.zeros((noise, 1), np.float32)}
    for i in range(BLOCKS):
        at = f"gpt_neox.layers.{i}"
        tensors |= {
            f"{at}.attention.rope.weight": np.zeros((4 * WIDE, WIDE), np.float32),  # lies between
            f"{at}.attention.query_key_value.weight": generator.normal(0, scale, (3 * WIDE, WIDE)).astype(np.float32),
            f"{at}.input_layernorm.bias": np.full(WIDE, scale, np.float32),
            f"{at}.input_layernorm.weight": np.full(WIDE, 1 + scale, np.float32),
            f"{at}.mlp.dense_h_to_4h.weight": np.zeros((4 * WIDE, WIDE), np.float32),
        }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "gpt_neox", "num_attention_heads": 4}', "utf-8")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_of_a_hubs_revisions_only_the_needed_bytes_are_asked_for(tmp_path, monkeypatch):
    steps = (0, 1000, 143000)
    with serving({}, "owner/pythia") as hub:
        hub.revisions = {f"step{step}": f"{step:040x}" for step in steps}
        hub.commits = {f"{step:040x}": neox(tmp_path / f"{step}", 1.0 + i) for i, step in enumerate(steps)}
        point_huggingface_hub_at(hub, tmp_path / "cache", monkeypatch)
        client = Client()
        frame = g.weights([f"owner/pythia@step{step}" for step in reversed(steps)], client=client)
        asked = [one for one in hub.requests if "pythia" in one[0]]  # the hub's client may ask for more, of its own
    assert frame["step"].unique().tolist() == list(steps)
    np.testing.assert_allclose(frame.groupby("step")["growth"].mean(), [1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(frame.groupby("step")["gamma_mean"].mean(), [2, 3, 4])
    np.testing.assert_allclose(frame.groupby("step")["beta_mean"].mean(), [1, 2, 3])
    needed = BLOCKS * (3 * WIDE * WIDE + 2 * WIDE) * 4
    assert needed < hub.bytes_sent / len(steps) < needed + HEAD + 500
    assert client.tally.bytes == hub.bytes_sent
    of_files = [path for path, span in asked if span and large(path)]
    assert len(of_files) <= len(steps) * (2 + 2 * BLOCKS), "a redirected header; each block's projection and norm"
    assert len(asked) - len(of_files) == 2 * len(steps), "what is in the revision, and config.json"


@pytest.mark.parametrize(("model_type", "added"), [("llama", 0), ("gemma", 1)])
def test_gamma_of_the_norm_before_is_what_the_model_multiplies_with(tmp_path, model_type, added):
    tensors = {f"model.layers.0.self_attn.{part}_proj.weight": np.ones((8, 8), np.float32) for part in "qkv"}
    norms = {"layers.0.input_layernorm": 2, "layers.0.post_attention_layernorm": 99, "norm": 99}
    tensors |= {f"model.{name}.weight": np.full(8, value, np.float32) for name, value in norms.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "num_attention_heads": 2}), "utf-8")
    row = weights([tmp_path]).iloc[0]
    assert (row["gamma_mean"], row["gamma_std"]) == (2 + added, 0)
    assert np.isnan(row["beta_mean"])
    assert weights(checkpoint(tmp_path / "without", drawn()))["gamma_mean"].isna().all()


def test_norms_are_the_tables_every_value(tmp_path):
    neox(tmp_path / "a", 0.5)
    frame = g.norms(tmp_path / "a", f"b={tmp_path / 'a'}")
    assert list(frame) == ["model", "revision", "family", "block", "place", "kind", "stored", "index", "value"]
    assert frame["model"].unique().tolist() == ["a", "b"]
    assert len(frame) == 2 * BLOCKS * 2 * WIDE
    assert frame.groupby("kind")["value"].mean().to_dict() == {"gamma": 1.5, "beta": 0.5}
    assert frame["place"].unique().tolist() == ["attention and mlp input"], "there is no other"
    assert frame.attrs["unknown_convention"] == {}
    (tmp_path / "a" / "config.json").write_text('{"model_type": "never seen"}', "utf-8")
    assert "never seen" in g.norms(tmp_path / "a").attrs["unknown_convention"]["a"]
    with pytest.raises(UserError, match="no checkpoint was given"):
        g.norms()


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_are_no_statistics_and_no_failure(tmp_path):
    three = drawn()
    three[1][0][0, 0], three[1][2][0, 0] = np.nan, np.inf
    good, bad = checkpoint(tmp_path / "step1", drawn()), checkpoint(tmp_path / "step2", three)
    last = weights([good, bad]).query("step == 2").groupby("block")["std"]
    assert last.count().tolist() == [4, 0]
    assert claims.judged([weights([good, bad])])[0]["side"] == claims.NOT_FINITE
    assert weights([bad])["growth"].isna().sum() == 4


@pytest.mark.slow
@pytest.mark.alone
def test_a_series_takes_little_more_than_reading_it_and_its_singular_values(tmp_path):
    """Of GPT-2's width; fewer blocks and checkpoints, which both sides are proportional to."""
    generator, blocks, heads = np.random.default_rng(0), 2, 12
    folders = []
    for step in range(3):
        tensors = {
            f"h.{i}.attn.c_attn.weight": generator.normal(0, 0.02, (768, 3 * 768)).astype(np.float32)
            for i in range(blocks)
        }
        folder = tmp_path / f"step{step}"
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_head": heads}), "utf-8")
        folders.append(folder)
    weights(folders[:1])  # what the first call imports
    start = time.process_time()
    weights(folders)
    middle = time.process_time()
    for folder in folders:
        contents = (folder / "model.safetensors").read_bytes()
        matrices = np.frombuffer(contents[-blocks * 3 * 768**2 * 4 :], np.float32).reshape(blocks, 768, 3 * 768)
        for matrix in matrices:
            for part in (matrix.T, *np.split(matrix.T, 3), *np.split(matrix.T, 3 * heads)):
                np.linalg.svd(part, compute_uv=False)
    assert middle - start <= 1.5 * (time.process_time() - middle)
