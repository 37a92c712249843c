"""What is said of a checkpoint's norms: statistics, a sentence, a fingerprint, and whether a GPT-2 is OpenAI's."""

import json

import numpy as np
import pytest
from safetensors import TensorSpec, serialize_file
from safetensors.numpy import save_file
from test_inputs import gpt2_tensors

from goldilocks.checkpoints import reference, summary
from goldilocks.checkpoints.load import fingerprint, gpt2_differences, read
from goldilocks.core import files

THRESHOLDS = (0.2, 0.4, 0.1)


def test_the_statistics_count_finite_values_and_the_others():
    values = [0.1, 0.2, 0.3, 0.4, 1.0, 2.0]
    found = summary.statistics(np.array([*values, np.nan, np.inf]), *THRESHOLDS)
    assert found["share_in_range"] == 0.5
    assert found["share_below_1"] == pytest.approx(4 / 6)
    assert (found["q50"], found["std"]) == pytest.approx((0.35, np.std(values)))
    assert (found["n"], found["not_finite"], found["min"], found["max"]) == (8, 2, 0.1, 2.0)
    assert summary.statistics(np.array([-0.2, -0.05, 0.0, 0.1]), *THRESHOLDS)["share_near_zero"] == 0.5
    assert summary.statistics(np.array([np.nan]), *THRESHOLDS) == {"n": 1, "not_finite": 1}


def test_the_fingerprint_is_of_names_types_and_values(tmp_path):
    one, other, halves = np.float32([1, 2]), np.float32([3, 4]), np.float16([1, 2])
    variants = [
        {"ln_1.weight": one, "ln_2.weight": other}, {"ln_1.weight": other, "ln_2.weight": one},
        {"x.ln_1.weight": one, "x.ln_2.weight": other}, {"ln_1.weight": one, "ln_2.weight": one},
        {"ln_1.weight": halves, "ln_2.weight": other.astype(np.float16)},
    ]  # fmt: skip
    for i, tensors in enumerate([*variants, variants[0]]):
        save_file(tensors, tmp_path / f"{i}.safetensors")
    spec = {"dtype": "bfloat16", "shape": [2], "data_len": 4}  # the last one's bytes in another type
    specs = {name: TensorSpec(data_ptr=array.ctypes.data, **spec) for name, array in variants[-1].items()}
    serialize_file(specs, str(tmp_path / "6.safetensors"))
    found = [fingerprint(read(tmp_path / f"{i}.safetensors")) for i in range(7)]
    assert found[0] == found[5]
    assert len(set(found)) == 6


def test_the_reference_figures_are_met_to_their_last_digit_or_not(tmp_path):
    save_file(gpt2_tensors(), str(tmp_path / "gpt2.safetensors"))
    found = read(tmp_path / "gpt2.safetensors")
    mine = summary.by_kind(found, *THRESHOLDS)
    figures = {kind: tuple(files.significant(mine[kind][name]) for name in reference.FIGURES) for kind in mine}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(reference.GPT2, "gpt2", figures)
        assert gpt2_differences(found) == []
        figures["gamma"] = tuple(value * 1.00001 for value in figures["gamma"])
        assert len(gpt2_differences(found)) >= 9


def reading(tmp_path, medians, config=None, final=1):
    """The sentence on a GPT-2 with a block for each median of γ, and β of 0."""
    tensors = {"ln_f.weight": np.full(8, final, np.float32), "ln_f.bias": np.zeros(8, np.float32)}
    for i, median in enumerate(medians):
        for norm in ("ln_1", "ln_2"):
            tensors[f"h.{i}.{norm}.weight"] = np.full(8, median, np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config or {"model_type": "gpt2"}), "utf-8")
    return summary.reading(read(tmp_path))


@pytest.mark.parametrize(
    ("median", "config", "said"),
    [
        (0.5, None, "0.5, between those of gpt2-medium and gpt2-large"),
        (0.2, None, "0.2, below all of GPT-2's"),
        (0.9, None, "0.9, above all of GPT-2's"),
        (0.4535, None, "0.45, as gpt2-medium has"),
        (0.5, {"model_type": "new"}, "0.5, as stored, so perhaps 1 too small to set beside GPT-2's"),
    ],
)
def test_the_last_sentence_sets_gamma_beside_gpt2s(tmp_path, median, config, said):
    sizes = "(gpt2 0.30, gpt2-medium 0.45, gpt2-large 0.62, gpt2-xl 0.71)"
    usual = "none is negative, above 5 or far from its neighbours"
    assert reading(tmp_path, [median] * 4, config) == f"γ has a median of {said} {sizes}; {usual}"


def test_the_last_sentence_tells_what_is_unusual(tmp_path):
    said = reading(tmp_path, [1.0, 1.1, 1.2, 2.6, 1.2, 0.4, 1.0, 1.1], final=[-1, -0.5, 6, np.nan, 1, 1, 1, 1])
    assert "; 2 of 135 are negative; 1 of 135 are above 5; " in said
    assert said.endswith(
        "far from their neighbours' median are block 3's attention input (2.6 beside 1.2), block 5's attention input "
        "(0.4 beside 1.2), block 3's mlp input (2.6 beside 1.2) and 1 more"
    )
