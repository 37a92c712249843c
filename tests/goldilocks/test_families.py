"""The norms of every family, in its real naming, in files made small; `norm_survey.py` measures real models."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from goldilocks.checkpoints.families import Norm, choose, like_norms
from goldilocks.checkpoints.load import read

IN, OUT, MLP, MLP_OUT = "attention input", "attention output", "mlp input", "mlp output"
LLAMA = {"layers.N.input_layernorm": IN, "layers.N.post_attention_layernorm": MLP, "norm": "final"}
GEMMA_2 = LLAMA | {
    "layers.N.post_attention_layernorm": OUT, "layers.N.pre_feedforward_layernorm": MLP,
    "layers.N.post_feedforward_layernorm": MLP_OUT,
}  # fmt: skip
BERT = {
    "embeddings.LayerNorm": "embedding", "encoder.layer.N.attention.output.LayerNorm": OUT,
    "encoder.layer.N.output.LayerNorm": MLP_OUT,
}  # fmt: skip
T5 = {
    "encoder.block.N.layer.0.layer_norm": f"encoder {IN}", "encoder.block.N.layer.1.layer_norm": f"encoder {MLP}",
    "encoder.final_layer_norm": "encoder final", "decoder.block.N.layer.0.layer_norm": f"decoder {IN}",
    "decoder.block.N.layer.1.layer_norm": "decoder cross-attention input",
    "decoder.block.N.layer.2.layer_norm": f"decoder {MLP}", "decoder.final_layer_norm": "decoder final",
}  # fmt: skip
# What config.json says, what begins the names, and the place by the rest of the name.
FAMILIES = {
    "GPT-2": ({"model_type": "gpt2"}, "transformer.", {"h.N.ln_1": IN, "h.N.ln_2": MLP, "ln_f": "final"}),
    "OPT-350M": (
        {"model_type": "opt", "do_layer_norm_before": False}, "model.",
        {"decoder.layers.N.self_attn_layer_norm": OUT, "decoder.layers.N.final_layer_norm": MLP_OUT},
    ),
    "BERT": ({"model_type": "bert"}, "bert.", BERT),
    "Falcon RW": (
        {"model_type": "falcon"}, "transformer.",
        {"h.N.input_layernorm": IN, "h.N.post_attention_layernorm": MLP, "ln_f": "final"},
    ),
    "Falcon 40B": (
        {"model_type": "falcon"}, "transformer.", {"h.N.ln_attn": IN, "h.N.ln_mlp": MLP, "ln_f": "final"},
    ),
    "Llama": ({"model_type": "llama"}, "model.", LLAMA),
    "Gemma 2": ({"model_type": "gemma2"}, "model.", GEMMA_2),
    "Gemma 3": (
        {"model_type": "gemma3"}, "language_model.model.",
        GEMMA_2 | {"layers.N.self_attn.q_norm": "query", "layers.N.self_attn.k_norm": "key"},
    ),
    "T5": ({"model_type": "t5"}, "", T5),
}  # fmt: skip
WRAPPERS = ("_orig_mod.", "module.", "_forward_module.", "module._orig_mod.", "model.model.", "_fsdp_wrapped_module.")
NO_NORMS = ["h.0.mlp.c_fc.bias", "layers.0.self_attn.rotary_emb.inv_freq", "cls.predictions.bias", "wte.weight"]
AS_STORED = ": places by names, and γ as stored; models like Gemma store it less 1"


def norms_of(places, start=""):
    """Norms by their names, in the blocks 0, 1 and 10."""
    found = {}
    for name, place in places.items():
        outside = -2 if place == "embedding" else -1
        for block in (0, 1, 10) if ".N." in name else (outside,):
            found[start + name.replace(".N.", f".{block}.")] = Norm(block, place, "gamma")
    return found


def chosen(names, config=None):
    """The norms by the names of modules."""
    norms = choose([name if name.endswith("_proj") else f"{name}.weight" for name in names], config).norms
    return {name.removesuffix(".weight"): norm for name, norm in norms.items()}


def survey(folder, names, config=None):
    """What is read of a checkpoint with these tensors, all of them 1."""
    save_file({name: np.ones(4, np.float32) for name in names}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return read(folder)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", [None, "", *WRAPPERS], ids=["as it is", "without", *WRAPPERS])
def test_a_family_is_known_by_its_config_and_read_by_its_names_whatever_wraps_them(family, start):
    config, own, places = FAMILIES[family]
    norms = norms_of(places, own if start is None else start)
    if start and "fsdp" in start:
        norms = {name.replace(".0.", ".0._checkpoint_wrapped_module."): norm for name, norm in norms.items()}
    names = [*NO_NORMS, *(f"{name}.weight" for name in norms)]
    known, unknown = choose(names, config), choose(names, None)
    for choice in (known, unknown):
        assert choice.norms == {f"{name}.weight": norm for name, norm in norms.items()}
    assert (known.unknown, known.note) == ("", "")
    assert known.stored_less_1 == (set(known.norms) if "Gemma" in family else set())
    assert unknown.stored_less_1 == set()
    if family == "GPT-2":
        assert (known.family, unknown.family, unknown.unknown) == ("GPT-2", "GPT-2", "")
        assert unknown.note == "no config.json; read by its names, as GPT-2"
    else:
        assert (known.family, unknown.family) == (config["model_type"], "unknown")
        assert (unknown.unknown, unknown.note) == ("no config.json", f"no config.json{AS_STORED}")


def test_old_names_of_gamma_and_beta():
    names = [f"{name}.{kind}" for name in norms_of(BERT) for kind in ("gamma", "beta")]
    assert {name: norm.kind for name, norm in choose(names, None).norms.items()} == {
        name: name.rpartition(".")[2] for name in names
    }


@pytest.mark.parametrize("known", [True, False])
def test_norms_that_only_a_model_with_a_head_has(known):
    """Of RoBERTa, ELECTRA, BERT and DeBERTa, DistilBERT, ALBERT, and DeBERTa's of relative positions."""
    heads = {
        "roberta": "lm_head.layer_norm", "electra": "generator_predictions.LayerNorm",
        "bert": "cls.predictions.transform.LayerNorm", "deberta-v2": "lm_predictions.lm_head.LayerNorm",
        "distilbert": "vocab_layer_norm", "albert": "predictions.LayerNorm",
    }  # fmt: skip
    for model_type, name in heads.items():
        names = [name, "x.encoder.layer.0.attention.output.LayerNorm", "deberta.encoder.LayerNorm"]
        norms = chosen(names, {"model_type": model_type} if known else None)
        assert norms[name] == Norm(-1, "head", "gamma")
        assert norms[names[1]] == Norm(0, OUT, "gamma")
        if known and model_type == "deberta-v2":
            assert norms[names[2]] == Norm(-2, "relative position embedding", "gamma")


@pytest.mark.parametrize("model_type", ["gemma9", "\ud800", "x" * 10**6, ["gpt2"], {}, None, 3])
def test_any_json_as_type_is_read_by_its_names(tmp_path, model_type):
    found = survey(tmp_path, ["h.0.ln_1.weight", "h.0.ln_2.weight", "ln_f.weight"], {"model_type": model_type})
    assert [tensor.norm.place for tensor in found.tensors] == [IN, MLP, "final"]
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
    found = survey(tmp_path, ["ln_f.weight", *strange, *batch, *others])
    assert found.unrecognised == dict.fromkeys(sorted([*strange, *batch]), (4,))
    assert [tensor.name for tensor in found.tensors] == ["ln_f.weight"]


def test_matrices_that_are_called_norms_are_none(tmp_path):
    tensors = {"ln_f.weight": np.ones(3), "norm_matrix": np.ones((2, 2)), "norm.proj.weight": np.ones((2, 2))}
    heads = {"h.0.attn.q_norm.weight": np.ones((2, 4)), "h.0.attn.q_norm.bias": np.ones(4)}
    save_file(tensors | heads, tmp_path / "x.safetensors")
    found = read(tmp_path)
    assert [tensor.name for tensor in found.tensors] == ["ln_f.weight"]
    assert found.unrecognised == {"h.0.attn.q_norm.bias": (4,), "h.0.attn.q_norm.weight": (2, 4)}


@pytest.mark.parametrize("config", [{"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, None])
def test_towers_store_their_norms_in_their_own_way(tmp_path, config):
    names = ["vision_tower.layers.0.layer_norm1.weight", "language_model.layers.0.input_layernorm.weight"]
    found = {tensor.name: tensor.values[0] for tensor in survey(tmp_path, names, config).tensors}
    assert found == dict(zip(names, [1, 2 if config else 1], strict=True))


PLACES = {
    "a name that tells no place": {
        "h.0.ln_1": (0, IN), "h.0.ln_9": (0, "ln_9"), "h.0.attn.sub_norm": (0, "attn.sub_norm"),
        "h.1234.ln_2": (1234, MLP), "x.special_norm": (-1, "x.special_norm"), "ln_f": (-1, "final"),
    },
    "two norms of one place": {
        "layers.0.input_layernorm": (0, IN), "layers.0.ff_norm": (0, "ff_norm"), "layers.0.mlp_norm": (0, "mlp_norm"),
        "norm": (-1, "final"), "model.norm": (-1, "model.norm"),
    },
    "stacks of blocks": {
        "model.vision_tower.encoder.layers.0.layer_norm1": (0, "vision attention and mlp input"),
        "model.vision_tower.post_layernorm": (-1, "vision final"),
        "model.language_model.layers.0.input_layernorm": (0, "language attention and mlp input"),
        "model.language_model.norm": (-1, "language final"), "model.projector.layernorm": (-1, "head"),
    },
}  # fmt: skip


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_names_tell_places_and_stay_where_they_tell_none(places):
    assert {name: (norm.block, norm.place) for name, norm in chosen(places).items()} == places


@pytest.mark.parametrize(
    ("config", "others"),
    [
        (None, ["layers.0.mixer.a_log", "layers.1.self_attn.q_proj"]),
        ({"model_type": "x", "layer_types": ["linear_attention", "full_attention"]}, []),
    ],
)
def test_a_block_with_another_mixer_of_tokens_has_no_attention(config, others):
    names = [f"layers.{i}.{name}" for i in range(2) for name in ("input_layernorm", "post_attention_layernorm")]
    found = chosen([*names, *others], config)
    assert [found[name].place for name in names] == ["mixer input", MLP, IN, MLP]


def test_a_wrapper_of_an_unknown_text_model_is_unknown():
    config = {"model_type": "llava", "text_config": {"model_type": "new"}}
    assert choose(["layers.0.input_layernorm.weight"], config).unknown == "config.json's model_type 'new' is in no list"


def test_the_order_is_that_of_the_data():
    norms = list(chosen(norms_of(T5), {"model_type": "t5"}).values())
    assert [norm.block for norm in norms] == [0, 0, 1, 1, 10, 10, -1, 0, 0, 0, 1, 1, 1, 10, 10, 10, -1]
    assert [norm.place for norm in norms[:7:2]] == [f"encoder {IN}"] * 3 + ["encoder final"]
    assert norms[-1].place == "decoder final"


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
