"""Q, K and V of anyone's checkpoints: those that the model's own forward pass makes, and Model 5's statistics."""

import contextlib
import json
from unittest import mock

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, tiny
from safetensors.numpy import save_file

from goldilocks.checkpoints.client import Client
from goldilocks.model5 import weight_stats
from goldilocks.models.projections import block_of, find
from goldilocks.models.weights import TAIL_SIGMAS, open_checkpoint, weights

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


@contextlib.contextmanager
def heads_made(model):
    """Notes, by module, what a model's attention gets, the q, k and v by head that it makes of it, and norms' outputs.

    Heads are (B, H, T, d).
    """
    from transformers import AttentionInterface

    seen, made, normalised = {}, {}, {}
    names = {id(module): name for name, module in model.named_modules()}
    hand_out = AttentionInterface.get_interface

    def before(module, args, kwargs):
        seen[names[id(module)]] = args[0] if args else kwargs["hidden_states"]

    def after(module, _, output):
        normalised[names[id(module)]] = output if isinstance(output, torch.Tensor) else torch.empty(0)

    def get_interface(self, implementation, default):
        attend = hand_out(self, implementation, default)

        def noted(module, query, key, value, *rest, **more):
            made[names[id(module)]] = query, key, value
            return attend(module, query, key, value, *rest, **more)

        return noted

    def noting(module, method, parts_of):
        own = getattr(module, method)

        def noted(*args):
            out = own(*args)
            made[names[id(module)]] = parts_of(args, out)
            return out

        return mock.patch.object(module, method, noted)

    with mock.patch.object(AttentionInterface, "get_interface", get_interface), contextlib.ExitStack() as stack:
        for module in model.modules():
            if "Norm" in type(module).__name__:
                stack.callback(module.register_forward_hook(after).remove)
            elif "Attention" in type(module).__name__:
                handle = module.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(handle.remove)
                if method := next((name for name in ATTEND_ALONE if hasattr(module, name)), None):
                    stack.enter_context(noting(module, method, ATTEND_ALONE[method]))
        yield seen, made, normalised


QUICK = {"gpt2", "llama", "bert"}


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
    with torch.no_grad(), heads_made(model) as (seen, made, outputs):
        model(**arguments)
    assert len(projections) == len(made) > 0
    for projection in projections:
        weight, _ = opened.look(projection)
        assert weight.by_head
        before = {name.rpartition(".")[0] for name in opened.norms.of(projection)}
        of_block = {name for name in outputs if block_of(name) == projection.block}
        if model.config.model_type not in (
            "albert",
            "bart",
        ):  # whose blocks are one; whose norms follow sums, of which one is read
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
