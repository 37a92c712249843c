import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from closure import ROOT
from conftest import Project
from hub_server import PLAIN, serving
from safetensors.numpy import save, save_file
from test_inputs import gpt2_tensors, local_source

from goldilocks.checkpoints.load import read
from goldilocks.core import tables
from stages import layernorm


def run(folder, *arguments):
    return Project(folder).here("layernorm", *map(str, arguments))


def test_as_a_tool_it_prints_statistics_and_writes_every_value(tmp_path):
    for name, blocks in (("one", 11), ("two/model", 1), ("a=b/three", 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_file(gpt2_tensors(blocks=blocks), str(tmp_path / f"{name}.safetensors"))
    checkpoints = [tmp_path / "one.safetensors", f"named={tmp_path / 'two'}", tmp_path / "a=b" / "three.safetensors"]
    done = run(tmp_path, *checkpoints, "--out", tmp_path / "n.parquet")
    assert done.returncode == 0, done.stderr
    frame = tables.read(tmp_path / "n.parquet", "layernorm")
    assert frame.groupby("model", observed=True).size().to_dict() == {"one": 368, "named": 48, "three": 48}
    one = frame[frame["model"] == "one"]
    assert list(one["block"].unique()) == [*range(11), -1]
    chosen = one[(one["block"] == 1) & (one["place"] == "mlp input") & (one["kind"] == "gamma")]
    np.testing.assert_array_equal(chosen["value"], gpt2_tensors(blocks=11)["h.1.ln_2.weight"])
    np.testing.assert_array_equal(chosen["index"], np.arange(8))
    assert {*one["family"], *one["stored"]} == {"GPT-2", "F32"}
    lines = done.stdout.splitlines()
    assert [line.split()[:1] for line in lines] == [
        *[["model"], ["one"], ["named"], ["three"]] * 2, [], ["one:"], ["named:"], ["three:"],
    ]  # fmt: skip
    assert lines[0].split()[-4:] == ["in", "[0.2,", "0.4]", "<", "1"][-4:]
    assert lines[4].split()[-3:] == ["|β|", "<", "0.1"]
    assert "h.0.ln_1.weight" not in done.stdout
    assert "requests" in done.stderr.splitlines()[-1]
    assert "h.0.ln_1.weight" in run(tmp_path, *checkpoints, "--tensors").stdout
    assert "h.0.ln_1.weight" in run(tmp_path, checkpoints[0]).stdout
    assert not (tmp_path / "data").exists()


def test_json_for_machines(tmp_path):
    tensors = gpt2_tensors(blocks=1)
    tensors |= {"ln_f.weight": np.array([np.nan, np.inf, 1.0], np.float32), "x.norm": np.ones(3)}
    save_file(tensors, str(tmp_path / "m.safetensors"))
    done = run(tmp_path, tmp_path / "m.safetensors", "--json")
    found = json.loads(done.stdout)
    (one,) = found["checkpoints"]
    assert (one["model"], one["family"], one["unrecognised"]) == ("m", "GPT-2", {"x.norm": [3]})
    assert one["all"]["gamma"]["not_finite"] == 2
    assert len(one["tensors"]) == 6
    for statistics in (one["all"], {tensor["kind"]: tensor for tensor in one["tensors"]}):
        assert {name for name in statistics["gamma"] if "share" in name} == {"share_in_range", "share_below_1"}
        assert {name for name in statistics["beta"] if "share" in name} == {"share_near_zero"}
    assert found["read"]["bytes"] > 100
    assert "m: 2 values are not finite numbers" in done.stderr


def test_it_needs_neither_dvc_nor_the_project_folder_nor_torch_nor_pandas_nor_greek_letters(tmp_path):
    save_file(gpt2_tensors(), str(tmp_path / "m.safetensors"))
    code = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["layernorm", "m.safetensors", "--out", "n.parquet"]
from goldilocks.core import cli
from stages import layernorm
cli.run(layernorm.main)
print(*({{"torch", "transformers", "dvc", "pandas", "matplotlib"}} & set(sys.modules)), file=sys.stderr)"""
    done = Project(tmp_path).run("python", "-c", code, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == ""
    assert r"\u03b3" in done.stdout
    assert (tmp_path / "n.parquet").is_file()


def test_what_it_refuses_is_told_in_a_line_and_nothing_is_written(tmp_path):
    good = tmp_path / "good.safetensors"
    save_file(gpt2_tensors(), str(good))
    for name in ("x.gguf", "pickled/model.bin", "two/a.safetensors", "two/b.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(good, tmp_path / name)
    (tmp_path / "empty").mkdir()
    bounds = "--timeout must be more than 0 and at most 600"
    for arguments, said in {
        ("nothing",): "no such file or folder",
        ("",): "name is empty",
        ("good.safetensors", "good.safetensors"): "the name of more than one checkpoint",
        ("empty",): "no safetensors file in it",
        ("pickled",): "a pickle, which can run any code",
        ("two",): "holds a.safetensors, b.safetensors; name the file you mean",
        ("x.gguf",): "neither a safetensors file",
        ("x" * 100_000,): "xxx",
        **{("x", wrong): bounds for wrong in ("--timeout=inf", "--timeout=0", "--retries=99")},
    }.items():
        done = run(tmp_path, *arguments, "--out", "n.parquet")
        assert done.returncode == 2
        assert "error: " in done.stderr.splitlines()[-1]
        assert said in done.stderr.splitlines()[-1]
        assert len(done.stderr) < 5000
        assert not (tmp_path / "n.parquet").exists()


def test_what_others_wrote_does_not_reach_the_terminal_as_it_is(tmp_path):
    hostile = "x\n\x1b[31m\r\u202e.norm"
    folder = tmp_path / hostile
    folder.mkdir()
    save_file(gpt2_tensors(blocks=1) | {hostile: np.ones(3, np.float32)}, str(folder / "model.safetensors"))
    done = run(tmp_path, folder, "--out", tmp_path / "n.parquet")
    assert done.returncode == 0, done.stderr
    assert r"unrecognised, not counted above: x\n\x1b[31m\r\u202e.norm [3]" in done.stdout
    assert set(tables.read(tmp_path / "n.parquet", "layernorm")["model"]) == {"x??[31m??.norm"}
    save_file({hostile: np.ones(3, np.float32)}, str(folder / "model.safetensors"))
    refused = run(tmp_path, folder)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    for text in (done.stdout, done.stderr, refused.stderr):
        assert all(c.isprintable() or c == "\n" for c in text)


def test_only_a_table_is_replaced_by_the_table(tmp_path):
    path, out = tmp_path / "m.safetensors", tmp_path / "new" / "n.parquet"
    save_file(gpt2_tensors(), str(path))
    for _ in range(2):
        assert run(tmp_path, path, "--out", out).returncode == 0
    os.mkfifo(tmp_path / "pipe")
    before = path.read_bytes()
    for occupied in (path, tmp_path, tmp_path / "pipe"):
        done = run(tmp_path, path, "--out", occupied)
        assert done.returncode == 2
        assert done.stderr == f"error: --out {occupied}: exists and is no Parquet file; name another one\n"
    assert (tmp_path / "pipe").is_fifo()
    assert path.read_bytes() == before
    for nothing in ("", "..", "s3://bucket/x.parquet"):
        done = run(tmp_path, path, "--out", nothing)
        assert (done.returncode, done.stderr.splitlines()[-1][-22:]) == (2, "not the name of a file")


def test_a_table_of_many_norms_takes_little_more_memory_than_it_has(tmp_path):
    names = [f"model.layers.{i}.{norm}_layernorm.weight" for i in range(30) for norm in ("input", "post_attention")]
    save_file(dict.fromkeys(names, np.ones(8192, np.float32)), str(tmp_path / "m.safetensors"))
    found = read(tmp_path / "m.safetensors")
    tracemalloc.start()
    columns = layernorm.columns([found])
    assert tracemalloc.get_traced_memory()[1] < 32 * 60 * 8192
    tracemalloc.stop()
    tables.write(tmp_path / "n.parquet", "layernorm", columns, {})
    assert len(tables.read(tmp_path / "n.parquet", "layernorm")) == 60 * 8192


def test_another_gpt2_than_openais_and_an_unknown_convention_are_told_in_every_output(tmp_path):
    save_file(gpt2_tensors(), tmp_path / "model.safetensors")
    warning = "gpt2: WARNING: these are not the LayerNorms of OpenAI's gpt2: gamma n 40"
    assert warning in run(tmp_path, f"gpt2={tmp_path}").stderr
    (tmp_path / "config.json").write_text('{"model_type": "new"}', "utf-8")
    done = run(tmp_path, f"mine={tmp_path}", "--json", "--out", tmp_path / "n.parquet")
    why = "config.json's model_type 'new' is in no list"
    assert f"mine: {why}: places by names, and γ as stored" in done.stderr
    assert "WARNING" not in done.stderr
    assert json.loads(done.stdout)["checkpoints"][0]["unknown_convention"] == why
    assert tables.parameters(tmp_path / "n.parquet")["unknown_convention"] == {"mine": why}
    (tmp_path / "config.json").write_text('{"model_type": "gemma"}', "utf-8")
    run(tmp_path, f"mine={tmp_path}", "--out", tmp_path / "n.parquet")
    assert set(tables.parameters(tmp_path / "n.parquet")) == {"revisions"}


def test_in_the_pipeline_it_surveys_model_5(smoke):
    metrics = json.loads(smoke.read("reports/metrics/layernorm.json"))
    assert set(metrics) == {"model5"}
    assert metrics["model5"]["gamma"]["n"] == metrics["model5"]["beta"]["n"] == (2 * 2 + 1) * 32
    assert metrics["model5"]["gamma"]["mean"] == pytest.approx(1, abs=0.1)


def test_the_pipeline_takes_any_mix_of_checkpoints(project, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    project.configure(f"inputs.source={local_source(tmp_path / 'source')}")
    mine = tmp_path / "mine"
    mine.mkdir()
    half = {name: array.astype(np.float16) for name, array in gpt2_tensors(blocks=1).items()}
    half["ln_f.weight"][0] = np.nan
    save_file(half | {"x.norm": np.ones(3)}, mine / "model.safetensors")
    with serving({"other.safetensors": save(gpt2_tensors(blocks=3))}) as server:
        other = f"{server.address}{PLAIN}/other.safetensors"
        project.configure(f"inputs.checkpoints=[{mine},{other}]")
        for stage in ("check", "inputs"):
            done = project.here(stage)
            assert done.returncode == 0, done.stderr
    folder = project.folder / "data" / "inputs"
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["gpt2", "mine", "other"]
    assert {tensor.stored for tensor in read(folder / "checkpoints" / "mine").tensors} == {"F16"}
    save_file(gpt2_tensors(), tmp_path / "five.safetensors")
    assert project.here("layernorm", "--stage", str(tmp_path / "five.safetensors")).returncode == 0
    table = tables.read(project.folder / "data" / "layernorm.parquet", "layernorm")
    assert {str(r) for r in table["revision"][table["model"] == "other"]} == {"as found"}, "as provenance says"
    metrics = json.loads(project.read("reports/metrics/layernorm.json"))
    told = {"five": 0, "gpt2": 0, "mine": 1, "other": 0}
    assert {model: each["unrecognised"] for model, each in metrics.items()} == told
    assert {model: each["gamma"]["not_finite"] for model, each in metrics.items()} == told
    assert not any("unknown_convention" in each for each in metrics.values()), "by GPT-2's names"
    provenance = json.loads((folder / "provenance.json").read_text())["inputs"]
    origins = {entry["input"]: entry["origin"] for entry in provenance}
    assert origins["checkpoints/mine"] == "norms of a file of this machine"
    assert origins["checkpoints/other"] == f"norms of {other}"
    save_file(gpt2_tensors(blocks=2), mine / "model.safetensors")
    before = project.read("data/local.json")
    assert project.here("check").returncode == 0
    assert project.read("data/local.json") != before, "an edited checkpoint is noticed, for `inputs` depends on this"
    project.configure(f"inputs.checkpoints=[{mine},mine={mine}]")
    done = project.here("inputs")
    assert done.returncode == 2
    assert "a second mine; write NAME=" in done.stderr
