"""Q, K and V of anyone's checkpoints: those that the model's own forward pass makes, and Model 5's statistics.

Checkpoints of a training stand in their order, and are read by ranges, from disk and from a hub's revisions.
"""

import json
import time
from unittest import mock

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, tiny
from hub_server import large, point_huggingface_hub_at, serving
from safetensors.numpy import load_file, save_file

import goldilocks as g
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import HEAD, Tally
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.core.cli import UserError
from goldilocks.model5 import weight_stats
from goldilocks.models import claims
from goldilocks.models.projections import block_of, find
from goldilocks.models.weights import TAIL_SIGMAS, open_checkpoint, step_of, weights

transformers = pytest.importorskip("transformers")

OTHERS = {"deepseek_v3", "olmo"}  # its Q, K and V are products of two projections; its norms have no γ
FAMILIES = {name: (name, own) for name, own in ARCHITECTURES.items() if name not in OTHERS} | {
    "bigcode, one key": ("gpt_bigcode", {"multi_query": True}),
    "bloom": ("bloom", {}),
    "falcon": ("falcon", {"multi_query": False, "new_decoder_architecture": False}),
    "falcon, one key": ("falcon", {"multi_query": True, "new_decoder_architecture": False}),
    "falcon, by group": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "wide heads": ("llama", {"head_dim": 16}),
    "codegen": ("codegen", {}),
    "dbrx": ("dbrx", {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 1e4}}),
    "gpt-j": ("gptj", {}),
    "neox, japanese": ("gpt_neox_japanese", {}),
    "persimmon": ("persimmon", {"qk_layernorm": False}),
    "qwen3, gated": ("qwen3_next", {"layer_types": ["full_attention"] * 2, "shared_expert_intermediate_size": 32}),
    "bart, narrow heads": ("bart", {"decoder_attention_heads": 2}),
}  # fmt: skip


ATTEND_ALONE = {
    "_attn": lambda args, _: args[:3],  # of GPT-J, CodeGen and the Japanese GPT-NeoX
    "_split_heads": lambda _, parts: [part.transpose(1, 2) for part in parts],  # of Falcon
    "_reshape": lambda _, parts: parts,  # of Bloom
}
"""Q, K and V by the arguments and the result of a method, of models that attend on their own."""


def heads_made(model, arguments):
    """Run a model; what each module's attention got, the q, k and v (B, H, T, d) it made of it, and norms' outputs.

    All are by module.
    """
    seen, made, normalised = {}, {}, {}
    names = {module: name for name, module in model.named_modules()}
    hand_out = transformers.AttentionInterface.get_interface

    def before(module, args, kwargs):
        seen[names[module]] = args[0] if args else kwargs["hidden_states"]

    def after(module, _, output):
        normalised[names[module]] = output if isinstance(output, torch.Tensor) else torch.empty(0)

    def noting(attend, parts_of, module=None):
        def noted(*args, **more):
            out = attend(*args, **more)
            made[names[module or args[0]]] = parts_of(args, out)
            return out

        return noted

    def get_interface(*args):
        return noting(hand_out(*args), lambda of, _: of[1:4])

    for module in names:
        if "Norm" in type(module).__name__:
            module.register_forward_hook(after)
        elif "Attention" in type(module).__name__:
            module.register_forward_pre_hook(before, with_kwargs=True)
            for method in set(dir(module)) & set(ATTEND_ALONE):
                setattr(module, method, noting(getattr(module, method), ATTEND_ALONE[method], module))
    with torch.no_grad(), mock.patch.object(transformers.AttentionInterface, "get_interface", get_interface):
        model(**arguments)
    return seen, made, normalised


QUICK = {"gpt2", "llama", "bert"}
SUMMED = {"albert", "bart"}  # whose blocks are one; whose norms follow sums, of which one is read


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in FAMILIES]
)
def test_q_k_and_v_are_those_of_the_models_own_forward_pass(family, tmp_path):
    model = tiny(*FAMILIES[family])
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
        elif parameter.ndim == 1 and ".q_" not in name and ".k_" not in name:
            parameter.data.add_(torch.rand(parameter.shape))  # or two norms of one input would be alike
    model.save_pretrained(tmp_path)
    opened = open_checkpoint(str(tmp_path), Client())
    projections, modules = find(opened.tensors.files), dict(model.named_modules())
    tokens = torch.randint(3, 64, (5, 1))  # at the first position rotations do nothing
    arguments = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {})
    seen, made, outputs = heads_made(model, arguments)
    assert len(projections) == len(made) > 0
    for projection in projections:
        weight, _ = opened.look(projection)
        assert weight.by_head
        before = {name.rpartition(".")[0] for name in opened.norms.of(projection)}
        of_block = {name for name in outputs if block_of(name) == projection.block}
        if model.config.model_type not in SUMMED:
            assert before == {name for name in of_block if torch.equal(outputs[name], seen[projection.module])}
        x, parts = seen[projection.module].detach().numpy()[:, 0], made[projection.module]
        by_part = weight_stats.by_part(weight.rows.reshape(sum(weight.heads), -1, weight.rows.shape[1]), weight.heads)
        across = any(kind in projection.module for kind in ("encoder_attn", "EncDec"))  # keys are of other states
        of_parts = list(zip(parts, by_part, weight.heads, strict=True))
        normalised = any(f"{projection.module}.{kind}_norm" in modules for kind in "qk")
        for i, (part, own, heads) in enumerate(of_parts[: 1 if across else 3]):
            expected = np.einsum("bi,hdi->bhd", x, own)
            found = part[:, :, 0].numpy()
            expected = np.repeat(expected, found.shape[1] // heads, axis=1)
            axes = (2,) if normalised and i < 2 else None  # some scale the queries, some normalise queries and keys
            scale = (found * expected).sum(axes, keepdims=True) / (expected**2).sum(axes, keepdims=True)
            assert (scale > 0).all()
            np.testing.assert_allclose(found, scale * expected, atol=2e-5)


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


def drawn(blocks=2, rows=(8, 4, 4), scale=1.0, seed=0, width=8):
    generator = np.random.default_rng(seed)
    return [[generator.normal(0, scale, (n, width)).astype(np.float32) for n in rows] for _ in range(blocks)]


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
    runs = [drawn(2, (768, 768, 768), 0.02, seed, width=768) for seed in range(3)]
    folders = [checkpoint(tmp_path / f"step{step}", run, heads=12) for step, run in enumerate(runs)]
    weights(folders[:1])  # what the first call imports
    start = time.process_time()
    weights(folders)
    middle = time.process_time()
    for folder in folders:
        tensors = load_file(folder / "model.safetensors")
        for block in range(2):
            parts = [tensors[f"model.layers.{block}.self_attn.{part}_proj.weight"] for part in "qkv"]
            for matrix in (np.concatenate(parts), *parts, *(head for part in parts for head in np.split(part, 12))):
                np.linalg.svd(matrix, compute_uv=False)
    assert middle - start <= 1.5 * (time.process_time() - middle)
