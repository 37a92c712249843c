"""The norms of every family, in its real naming, in files made small; `norm_survey.py` measures real models."""

import json
import re

import numpy as np
import pytest
from architectures import minilm
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.families import Norm, choose, like_norms
from goldilocks.checkpoints.ranges import Tally
from goldilocks.checkpoints.resolve import resolve

IN, OUT, MLP, MLP_OUT = "attention input", "attention output", "mlp input", "mlp output"
GEMMA_2 = {
    "N.input_layernorm": IN, "N.post_attention_layernorm": OUT, "N.pre_feedforward_layernorm": MLP,
    "N.post_feedforward_layernorm": MLP_OUT,
}  # fmt: skip
# Family: what begins its names, what config.json says, whether there is a β, and the place by the rest of the name.
FAMILIES = {
    "GPT-2": ("transformer.", {"model_type": "gpt2"}, True, {"h.N.ln_1": IN, "h.N.ln_2": MLP, "ln_f": "final"}),
    "OPT-350M": (
        "model.", {"model_type": "opt", "do_layer_norm_before": False}, True,
        {"decoder.layers.N.self_attn_layer_norm": OUT, "decoder.layers.N.final_layer_norm": MLP_OUT},
    ),
    "BERT": (
        "bert.", {"model_type": "bert"}, True,
        {
            "embeddings.LayerNorm": "embedding", "encoder.layer.N.attention.output.LayerNorm": OUT,
            "encoder.layer.N.output.LayerNorm": MLP_OUT,
        },
    ),
    "Falcon RW": (
        "transformer.", {"model_type": "falcon"}, True,
        {"h.N.input_layernorm": IN, "h.N.post_attention_layernorm": MLP, "ln_f": "final"},
    ),
    "Falcon 40B": (
        "transformer.", {"model_type": "falcon"}, True, {"h.N.ln_attn": IN, "h.N.ln_mlp": MLP, "ln_f": "final"},
    ),
    "Llama": (
        "model.", {"model_type": "llama"}, False,
        {"layers.N.input_layernorm": IN, "layers.N.post_attention_layernorm": MLP, "norm": "final"},
    ),
    "Gemma 2": (
        "model.", {"model_type": "gemma2"}, False,
        {f"layers.{name}": place for name, place in GEMMA_2.items()} | {"norm": "final"},
    ),
    "Gemma 3": (
        "language_model.", {"model_type": "gemma3"}, False,
        {f"model.layers.{name}": place for name, place in GEMMA_2.items()}
        | {"model.layers.N.self_attn.q_norm": "query", "model.layers.N.self_attn.k_norm": "key", "model.norm": "final"},
    ),
    "T5": (
        "", {"model_type": "t5"}, False,
        {
            "encoder.block.N.layer.0.layer_norm": f"encoder {IN}",
            "encoder.block.N.layer.1.layer_norm": f"encoder {MLP}", "encoder.final_layer_norm": "encoder final",
            "decoder.block.N.layer.0.layer_norm": f"decoder {IN}",
            "decoder.block.N.layer.1.layer_norm": "decoder cross-attention input",
            "decoder.block.N.layer.2.layer_norm": f"decoder {MLP}", "decoder.final_layer_norm": "decoder final",
        },
    ),
}  # fmt: skip
NO_NORMS = ["transformer.h.0.mlp.c_fc.bias", "model.layers.0.self_attn.rotary_emb.inv_freq", "cls.predictions.bias"]
WIDTH = 4
AS_STORED = ": places by names, and γ as stored; models like Gemma store it less 1"


def norms_of(family, start=None):
    """Block and place by the name of a norm, in the blocks 0, 1 and 10."""
    own, _, _, places = FAMILIES[family]
    found = {}
    for name, place in places.items():
        name = (own if start is None else start) + name
        outside = -2 if place == "embedding" else -1
        for block in (0, 1, 10) if ".N." in name else (outside,):
            found[name.replace(".N.", f".{block}.")] = block, place
    return found


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


def assert_places(found, expected):
    assert {tensor.name: tensor.norm for tensor in found.tensors} == {
        name: norm for name, (norm, _) in expected.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", [None, "", "model.model."], ids=["as it is", "without", "wrapped"])
def test_a_family_by_its_config(tmp_path, family, start):
    _, config, beta, _ = FAMILIES[family]
    expected = model(tmp_path / "m", norms_of(family, start), beta, NO_NORMS, config)
    found = survey(tmp_path / "m")
    called = "GPT-2" if family == "GPT-2" else config["model_type"]
    assert (found.family, found.model, found.notes, found.unrecognised) == (called, "m", [], {})
    assert found.unknown == ""
    assert_places(found, expected)
    for tensor in found.tensors:
        offset = np.float32("Gemma" in family and tensor.norm.kind == "gamma")
        np.testing.assert_array_equal(tensor.values, expected[tensor.name][1] + offset)
        assert tensor.stored == "F32"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_by_its_names(tmp_path, family):
    expected = model(tmp_path / "m", norms_of(family), FAMILIES[family][2], NO_NORMS)
    found = survey(tmp_path / "m")
    assert_places(found, expected)
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.values, expected[tensor.name][1], "γ as stored")
    if family == "GPT-2":
        by_names = ["no config.json; read by its names, as GPT-2"]
        assert (found.family, found.unknown, found.notes) == ("GPT-2", "", by_names)
    else:
        assert (found.family, found.unknown) == ("unknown", "no config.json")
        assert found.notes == [f"no config.json{AS_STORED}"]


@pytest.mark.parametrize(
    "wrapper",
    [
        "_orig_mod.{}",
        "module.{}",
        "_forward_module.{}",
        "module._orig_mod.{}",
        "model.model.{}",
        "_fsdp_wrapped_module.{}",
    ],
)
@pytest.mark.parametrize("family", ["GPT-2", "BERT", "Llama", "T5"])
def test_names_that_a_wrapper_changed_mean_the_same(family, wrapper):
    inside = ".0._checkpoint_wrapped_module." if "fsdp" in wrapper else ".0."
    names = {wrapper.format(name).replace(".0.", inside): Norm(*at, "gamma") for name, at in norms_of(family).items()}
    found = choose([f"{name}.weight" for name in names], None)
    assert {name.removesuffix(".weight"): norm for name, norm in found.norms.items()} == names


def test_old_bert_names(tmp_path):
    expected = model(tmp_path / "m", norms_of("BERT"), True, NO_NORMS, {"model_type": "bert"}, old=True)
    found = survey(tmp_path / "m")
    assert_places(found, expected)
    assert {tensor.name[-5:] for tensor in found.tensors} == {"gamma", ".beta"}


@pytest.mark.parametrize("known", [True, False])
def test_norms_that_only_a_model_with_a_head_has(known):
    """Of RoBERTa, ELECTRA, BERT and DeBERTa, DistilBERT, ALBERT, and DeBERTa's of relative positions."""
    at = {
        "roberta": "lm_head.layer_norm", "electra": "generator_predictions.LayerNorm",
        "bert": "cls.predictions.transform.LayerNorm", "deberta-v2": "lm_predictions.lm_head.LayerNorm",
        "distilbert": "vocab_layer_norm", "albert": "predictions.LayerNorm",
    }  # fmt: skip
    for model_type, name in at.items():
        config = {"model_type": model_type} if known else None
        others = ["x.encoder.layer.0.attention.output.LayerNorm.weight", "deberta.encoder.LayerNorm.weight"]
        norms = choose([f"{name}.weight", *others], config).norms
        assert norms[f"{name}.weight"] == Norm(-1, "head", "gamma")
        assert norms[others[0]] == Norm(0, OUT, "gamma")
        if known and model_type == "deberta-v2":
            assert norms[others[1]] == Norm(-2, "relative position embedding", "gamma")


@pytest.mark.parametrize("model_type", ["gemma9", "\ud800", "x" * 10**6, ["gpt2"], {}, None, 3])
def test_any_json_as_type_is_read_by_its_names(tmp_path, model_type):
    expected = model(tmp_path / "m", norms_of("GPT-2"), True, config={"model_type": model_type})
    found = survey(tmp_path / "m")
    assert len(found.tensors) == len(expected)
    if isinstance(model_type, str):
        assert re.fullmatch(r"config\.json's model_type .{1,60} is in no list", found.unknown)
        assert found.notes == [f"{found.unknown}{AS_STORED}"]
    else:
        by_names = ["no model_type in config.json; read by its names, as GPT-2"]
        assert (found.family, found.unknown, found.notes) == ("GPT-2", "", by_names)


def test_what_looks_like_a_norm_is_listed_never_dropped(tmp_path):
    strange = ["x.rms_norm.scale", "h.00.ln_1.bias", "h.12345.ln_1.weight", "conv_layers.0.layer_norm.weight"]
    batch = ["h.0.norm.weight", "h.0.norm.running_mean"]
    others = ["bn1.weight", "bn1.running_mean", "kiln.weight", "h.0.mlp.bias"]
    model(tmp_path / "m", norms_of("GPT-2"), True, [*strange, *batch, *others])
    found = survey(tmp_path / "m")
    assert found.unrecognised == dict.fromkeys(sorted([*strange, *batch]), (4,))
    assert len(found.tensors) == 2 * 7


def test_matrices_that_are_called_norms_are_none(tmp_path):
    tensors = {"ln_f.weight": np.ones(3), "norm_matrix": np.ones((2, 2)), "norm.proj.weight": np.ones((2, 2))}
    heads = {"h.0.attn.q_norm.weight": np.ones((2, 4)), "h.0.attn.q_norm.bias": np.ones(4)}
    save_file(tensors | heads, tmp_path / "x.safetensors")
    found = survey(tmp_path / "x.safetensors")
    assert [tensor.name for tensor in found.tensors] == ["ln_f.weight"]
    assert found.unrecognised == {"h.0.attn.q_norm.bias": (4,), "h.0.attn.q_norm.weight": (2, 4)}


@pytest.mark.parametrize("config", [{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, None])
def test_towers_store_their_norms_in_their_own_way(tmp_path, config):
    paths = ["vision_tower.layers.0.layer_norm1.weight", "language_model.layers.0.input_layernorm.weight"]
    model(tmp_path / "m", {}, False, paths, config)
    found = {tensor.name: tensor.values[0] for tensor in survey(tmp_path / "m").tensors}
    assert found == dict(zip(paths, [1, 2 if config else 1], strict=True))


def places(*names, config=None):
    """The index of the block and the place by name."""
    norms = choose([name if name.endswith("_proj") else f"{name}.weight" for name in names], config).norms
    return {name.removesuffix(".weight"): (norm.block, norm.place) for name, norm in norms.items()}


def test_a_norm_whose_name_tells_no_place_keeps_its_name():
    assert places("h.0.ln_1", "h.0.ln_9", "h.0.attn.sub_norm", "h.1234.ln_2", "x.special_norm", "ln_f") == {
        "h.0.ln_1": (0, IN), "h.0.ln_9": (0, "ln_9"), "h.0.attn.sub_norm": (0, "attn.sub_norm"),
        "h.1234.ln_2": (1234, MLP), "x.special_norm": (-1, "x.special_norm"), "ln_f": (-1, "final"),
    }  # fmt: skip


def test_two_norms_of_one_place_keep_their_names():
    names = ["layers.0.input_layernorm", "layers.0.ff_norm", "layers.0.mlp_norm", "norm", "model.norm"]
    assert places(*names) == dict(
        zip(names, [(0, IN), (0, "ff_norm"), (0, "mlp_norm"), (-1, "final"), (-1, "model.norm")], strict=True)
    )


def test_stacks_of_blocks_are_told_apart_by_their_names():
    assert places(
        "model.vision_tower.encoder.layers.0.layer_norm1", "model.vision_tower.post_layernorm",
        "model.language_model.layers.0.input_layernorm", "model.language_model.norm", "model.projector.layernorm",
    ) == {
        "model.vision_tower.encoder.layers.0.layer_norm1": (0, "vision attention and mlp input"),
        "model.vision_tower.post_layernorm": (-1, "vision final"),
        "model.language_model.layers.0.input_layernorm": (0, "language attention and mlp input"),
        "model.language_model.norm": (-1, "language final"), "model.projector.layernorm": (-1, "head"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "others"),
    [
        (None, ["layers.0.mixer.a_log", "layers.1.self_attn.q_proj"]),
        ({"model_type": "x", "layer_types": ["linear_attention", "full_attention"]}, []),
    ],
)
def test_a_block_with_another_mixer_of_tokens_has_no_attention(config, others):
    names = [f"layers.{i}.{name}" for i in range(2) for name in ("input_layernorm", "post_attention_layernorm")]
    found = places(*names, *others, config=config)
    assert [found[name][1] for name in names] == ["mixer input", MLP, IN, MLP]


def test_a_wrapper_of_an_unknown_text_model_is_unknown():
    config = {"model_type": "llava", "text_config": {"model_type": "new"}}
    assert choose(["layers.0.input_layernorm.weight"], config).unknown == "config.json's model_type 'new' is in no list"


def test_the_order_is_that_of_the_data():
    found = list(places(*norms_of("T5"), config={"model_type": "t5"}).values())
    assert found[:3] == [(0, "encoder attention input"), (0, "encoder mlp input"), (1, "encoder attention input")]
    assert found[6] == (-1, "encoder final")
    assert found[-1] == (-1, "decoder final")


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


@pytest.mark.slow
def test_a_real_checkpoint_that_others_made(tmp_path):
    """all-MiniLM-L6-v2."""
    folder = minilm(tmp_path)
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
