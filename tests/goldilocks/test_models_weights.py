"""Q, K and V of anyone's checkpoints: those that the model's own forward pass makes, and Model 5's statistics."""

import contextlib
import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from architectures import EXPERTS, GROUPED, RELATIVE, SEQ2SEQ, tiny
from closure import ROOT
from conftest import environment
from hub_server import PLAIN, serving
from safetensors.numpy import save_file

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import HEAD, Tally
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.core.cli import UserError
from goldilocks.model5 import weight_stats
from goldilocks.models.projections import find
from goldilocks.models.weights import TAIL_SIGMAS, open_checkpoint, step_of, weights

transformers = pytest.importorskip("transformers")

FAMILIES = {
    "gpt2": ("gpt2", {}),
    "bigcode, one key": ("gpt_bigcode", {"multi_query": True}),
    "bigcode": ("gpt_bigcode", {"multi_query": False}),
    "neox": ("gpt_neox", {}),
    "bloom": ("bloom", {"n_layer": 2, "n_head": 4}),
    "falcon": ("falcon", {"multi_query": False, "new_decoder_architecture": False}),
    "falcon, one key": ("falcon", {"multi_query": True, "new_decoder_architecture": False}),
    "falcon, by group": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "llama": ("llama", GROUPED),
    "wide heads": ("llama", {"num_key_value_heads": 2, "head_dim": 16}),
    "mistral": ("mistral", GROUPED),
    "mixtral": ("mixtral", GROUPED | EXPERTS),
    "qwen2": ("qwen2", GROUPED),
    "gemma": ("gemma", GROUPED),
    "opt": ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "phi": ("phi", {}),
    "phi3": ("phi3", GROUPED),
    "bert": ("bert", {}),
    "roberta": ("roberta", {}),
    "electra": ("electra", {"embedding_size": 32}),
    "albert": ("albert", {"embedding_size": 16}),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
    "modernbert": ("modernbert", {"cls_token_id": 1, "sep_token_id": 2}),
    "t5": ("t5", RELATIVE),
    "bart": ("bart", SEQ2SEQ | {"decoder_attention_heads": 2}),
}


@contextlib.contextmanager
def heads_made(model):
    """Notes, by module, what a model's attention gets and the q, k and v by head that it makes of it, (B, H, T, d)."""
    from transformers import AttentionInterface

    seen, made = {}, {}
    names = {id(module): name for name, module in model.named_modules()}
    hand_out = AttentionInterface.get_interface

    def before(module, args, kwargs):
        seen[names[id(module)]] = args[0] if args else kwargs["hidden_states"]

    def get_interface(self, implementation, default):
        attend = hand_out(self, implementation, default)

        def noted(module, query, key, value, *rest, **more):
            made[names[id(module)]] = query, key, value
            return attend(module, query, key, value, *rest, **more)

        return noted

    def split(module, own, heads_last):
        def noted(fused):
            parts = own(fused)
            made[names[id(module)]] = [part.transpose(1, 2) if heads_last else part for part in parts]
            return parts

        return noted

    with mock.patch.object(AttentionInterface, "get_interface", get_interface), contextlib.ExitStack() as stack:
        for module in model.modules():
            if "Attention" in type(module).__name__:
                handle = module.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(handle.remove)
                for method in ("_split_heads", "_reshape"):  # of Falcon, which attends on its own, and of Bloom
                    if hasattr(module, method):
                        noted = split(module, getattr(module, method), method == "_split_heads")
                        stack.enter_context(mock.patch.object(module, method, noted))
        yield seen, made


QUICK = {"gpt2", "llama", "bert"}


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in FAMILIES]
)
def test_q_k_and_v_are_those_of_the_models_own_forward_pass(family, tmp_path):
    model = tiny(*FAMILIES[family])
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    model.save_pretrained(tmp_path)
    opened = open_checkpoint(str(tmp_path), Client(Tally()))
    projections = find(opened.files)
    tokens = torch.randint(3, 64, (5, 1))  # at the first position rotations do nothing
    arguments = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {})
    with torch.no_grad(), heads_made(model) as (seen, made):
        model(**arguments)
    assert len(projections) == len(made) > 0
    for projection in projections:
        weight = opened.weight(projection)
        assert weight.by_head
        x, parts = seen[projection.module].detach().numpy()[:, 0], made[projection.module]
        by_part = weight_stats.by_part(weight.rows.reshape(sum(weight.heads), -1, weight.rows.shape[1]), weight.heads)
        across = any(kind in projection.module for kind in ("encoder_attn", "EncDec"))  # keys are of other states
        for part, own, heads in list(zip(parts, by_part, weight.heads, strict=True))[: 1 if across else 3]:
            expected = np.einsum("bi,hdi->bhd", x, own)
            found = part[:, :, 0].numpy()
            expected = np.repeat(expected, found.shape[1] // heads, axis=1)
            scale = (found * expected).sum() / (expected**2).sum()  # some scale the queries
            assert scale > 0
            np.testing.assert_allclose(found, scale * expected, atol=1e-5)


def checkpoint(folder, weights_, heads=None, noise=100):
    """A folder like a Llama's, with Q, K and V of its blocks and as many other values."""
    folder.mkdir(parents=True)
    tensors = {
        f"model.layers.{i}.self_attn.{part}_proj.weight": np.ascontiguousarray(matrix)
        for i, three in enumerate(weights_)
        for part, matrix in zip("qkv", three, strict=True)
    }
    save_file(tensors | {"embed_tokens.weight": np.zeros((noise, 1), np.float32)}, folder / "model.safetensors")
    if heads:
        (folder / "config.json").write_text(json.dumps({"num_attention_heads": heads}), "utf-8")
    return folder


def drawn(blocks=2, rows=(8, 4, 4), scale=1.0, seed=0):
    generator = np.random.default_rng(seed)
    return [[generator.normal(0, scale, (n, 8)).astype(np.float32) for n in rows] for _ in range(blocks)]


def test_model_5s_snapshots_have_the_pipelines_statistics(tmp_path):
    generator, names = np.random.default_rng(0), [f"blocks.{i}.attn.qkv.weight" for i in range(2)]
    snapshots = [{name: generator.normal(0, s, (48, 16)).astype(np.float32) for name in names} for s in (1, 2)]
    (tmp_path / "qkv").mkdir()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "config.json").write_text('{"n_head": 4}', "utf-8")
    paths = [tmp_path / "qkv" / f"step-{step:06d}.safetensors" for step in (0, 50)]
    for path, snapshot in zip(paths, snapshots, strict=True):
        save_file(snapshot, path)
    frame = weights(paths[::-1])
    assert frame["step"].unique().tolist() == [0, 50]
    for block, name in enumerate(names):
        tail = TAIL_SIGMAS * weights(paths[:1]).query("part == 'qkv'")["std"].iloc[block]
        for step, snapshot in zip((0, 50), snapshots, strict=True):
            rows = weight_stats.weight_rows({name: snapshot[name]}, {name: snapshots[0][name]}, 4, step, tail)
            found = frame[(frame["block"] == block) & (frame["step"] == step)]
            assert [{**row, "block": block} for row in rows] == found[list(rows[0])].to_dict("records")
    first = frame.loc[frame["step"] == 0, "std"].to_numpy()
    np.testing.assert_array_equal(
        frame.loc[frame["step"] == 50, "growth"], frame.loc[frame["step"] == 50, "std"] / first
    )


def test_shared_keys_have_fewer_heads_and_without_a_config_only_parts_are_told(tmp_path):
    three = drawn(1)
    found = weights([checkpoint(tmp_path / "known", three, heads=4)])
    assert found.groupby("part")["head"].max().to_dict() == {"q": 3, "k": 1, "v": 1, "qkv": -1}
    unknown = weights([checkpoint(tmp_path / "unknown", three)])
    assert unknown["part"].tolist() == ["q", "k", "v", "qkv"]
    for part, matrix in zip("qkv", three[0], strict=True):
        row = unknown[unknown["part"] == part].iloc[0]
        assert row["std"] == pytest.approx(matrix.std(), rel=1e-6)
        assert row["spectral_norm"] == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-5)
    both = found[found["head"] == -1].reset_index(drop=True)
    columns = ["std", "q05", "tail_mass", "spectral_norm", "excess_kurtosis"]
    np.testing.assert_allclose(both[columns], unknown[columns], rtol=1e-6)


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


def test_only_the_projections_are_read(tmp_path):
    three = [[matrix.repeat(16, 1) for matrix in of_block] for of_block in drawn(blocks=3, rows=(64, 64, 64))]
    folder = checkpoint(tmp_path / "model", three)
    with_more = checkpoint(tmp_path / "more", three, noise=10**6)
    tallies = Tally(), Tally()
    for path, tally in zip((folder, with_more), tallies, strict=True):
        weights([path], client=Client(tally))
    wanted = 3 * 3 * 64 * 128 * 4
    assert all(tally.bytes < wanted + 3 * HEAD for tally in tallies)
    assert (with_more / "model.safetensors").stat().st_size > 4 * 10**6


@pytest.mark.slow
def test_of_a_server_only_their_bytes_are_asked_for(tmp_path):
    three = [[matrix.repeat(32, 1) for matrix in of_block] for of_block in drawn(blocks=3, rows=(256, 256, 256))]
    files = {}
    for step in (1, 20, 3):
        folder = checkpoint(tmp_path / f"step{step}", three, heads=4, noise=10**6)
        files |= {f"step{step}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with serving(files, b"", "owner/name", "0" * 40) as server:
        frame = weights([f"{server.address}{PLAIN}/step{step}" for step in (1, 20, 3)])
        wanted = 3 * 3 * 3 * 256 * 256 * 4
        assert wanted < server.bytes_sent < wanted + 3 * (HEAD + 2000)
    assert frame["step"].unique().tolist() == [1, 3, 20]
    assert frame["head"].max() == 3


def test_what_is_no_series_is_told_in_one_line(tmp_path):
    good = checkpoint(tmp_path / "step1", drawn())
    other = checkpoint(tmp_path / "step2", drawn(rows=(16, 4, 4)))
    empty = tmp_path / "step3"
    empty.mkdir()
    save_file({"mixer.in_proj.weight": np.zeros((4, 4), np.float32)}, empty / "model.safetensors")
    with pytest.raises(UserError, match="another shape"):
        weights([good, other])
    with pytest.raises(UserError, match="no projections of Q, K and V"):
        weights([empty])
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


@pytest.mark.slow
def test_the_command_draws_writes_and_counts(tmp_path):
    import pandas as pd

    folders = [checkpoint(tmp_path / f"checkpoint-{n}", drawn(scale=n), heads=4) for n in (1, 3)]
    out, figure = tmp_path / "w.parquet", tmp_path / "f.svg"
    done = subprocess.run(
        [sys.executable, "-m", "tools.command", "weights", *folders, "--out", out, "--figure", figure],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 checkpoints, steps 1 … 3, one training; 2 modules of 4 heads" in done.stdout
    assert "3-fold the first's" in done.stdout
    assert len(pd.read_parquet(out)) == 2 * 2 * (8 + 4)
    assert figure.read_text("utf-8").endswith("</svg>\n")
