import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_inputs import damage, gpt2_tensors

from stages import layernorm
from stages.common import norms, tables


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_every_layernorm_is_found_in_model_order_and_nothing_else(prefix):
    names = [f"{prefix}{name}" for name in gpt2_tensors(blocks=11)]
    found = list(norms.find(sorted(names)))
    assert len(found) == 4 * 11 + 2
    assert [norm.block for norm, _ in found] == [b for b in range(11) for _ in range(4)] + [-1, -1]
    assert found[0] == (norms.Norm(0, "ln_1", "beta"), f"{prefix}h.0.ln_1.bias")
    assert found[-1] == (norms.Norm(-1, "ln_f", "gamma"), f"{prefix}ln_f.weight")


@pytest.mark.parametrize(
    "name", ["wte.weight", "h.0.ln_3.weight", "xh.0.ln_1.weight", "h.0.ln_1.weight.x", "h.x.ln_1.bias"]
)
def test_other_names_are_no_layernorms(name):
    assert list(norms.find([name])) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_the_survey_holds_every_value(tmp_path, dtype):
    tensors = {name: array.astype(dtype) for name, array in gpt2_tensors().items()}
    save_file(tensors, str(tmp_path / "model.safetensors"))
    columns = layernorm.survey([("m", tmp_path / "model.safetensors")])
    assert columns["value"].size == (4 * 2 + 2) * 8
    chosen = (columns["block"] == 1) & (columns["norm"] == "ln_2") & (columns["kind"] == "gamma")
    np.testing.assert_array_equal(columns["value"][chosen], tensors["h.1.ln_2.weight"].astype(np.float32))
    np.testing.assert_array_equal(columns["index"][chosen], np.arange(8))


def test_the_summary_counts():
    settings = layernorm.Settings(gamma_from=0.2, gamma_to=0.4, beta_near_zero=0.1)
    found = layernorm.summary(np.array([0.1, 0.2, 0.3, 0.4, 1.0, 2.0]), np.array([-0.2, -0.05, 0.0, 0.1]), settings)
    assert found["gamma"]["share_in_range"] == 0.5
    assert found["gamma"]["share_below_1"] == pytest.approx(4 / 6)
    assert found["gamma"]["median"] == pytest.approx(0.35)
    assert found["beta"] == {
        "n": 4, "mean": pytest.approx(-0.0375), "median": pytest.approx(-0.025), "min": -0.2, "max": 0.1,
        "share_near_zero": 0.5,
    }  # fmt: skip


def test_as_a_tool(project, tmp_path):
    save_file(gpt2_tensors(), str(tmp_path / "one.safetensors"))
    (tmp_path / "two").mkdir()
    save_file(gpt2_tensors(blocks=1), str(tmp_path / "two" / "model.safetensors"))
    (tmp_path / "a=b").mkdir()
    save_file(gpt2_tensors(blocks=1), str(tmp_path / "a=b" / "three.safetensors"))
    checkpoints = [tmp_path / "one.safetensors", f"named={tmp_path / 'two'}", tmp_path / "a=b" / "three.safetensors"]
    done = project.stage("layernorm", *map(str, checkpoints), "--out", str(tmp_path / "n.parquet"))
    assert done.returncode == 0, done.stderr
    frame = tables.read(tmp_path / "n.parquet", "layernorm")
    assert frame.groupby("model", observed=True).size().to_dict() == {"one": 80, "named": 48, "three": 48}
    assert "176 LayerNorm parameters of 3 checkpoint(s)" in done.stdout
    assert not (project.folder / "data").exists()
    assert "usage: python -m stages.layernorm" in project.check("python", "-m", "stages.layernorm", "--help")


def test_what_it_refuses(project, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(gpt2_tensors(), str(path))
    out = tmp_path / "n.parquet"

    def refused(*arguments):
        done = project.stage("layernorm", *map(str, arguments), "--out", str(out))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert not out.exists()
        return done.stderr

    assert "no such file or folder" in refused(tmp_path / "nothing")
    assert "the name of more than one checkpoint" in refused(path, path)
    (tmp_path / "empty").mkdir()
    assert "no safetensors file in there" in refused(tmp_path / "empty")
    damage(path)
    assert "not a sound safetensors file" in refused(path)
    save_file({"x": np.zeros(2, np.float32)}, str(path))
    assert "no LayerNorm parameters" in refused(path)


def test_in_the_pipeline_it_surveys_model_5(smoke):
    metrics = json.loads(smoke.read("reports/metrics/layernorm.json"))
    assert set(metrics) == {"model5"}
    assert metrics["model5"]["gamma"]["n"] == metrics["model5"]["beta"]["n"] == (2 * 2 + 1) * 32
    assert metrics["model5"]["gamma"]["mean"] == pytest.approx(1, abs=0.1)
