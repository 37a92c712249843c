"""`goldilocks attention`: what it prints, writes and refuses."""

import shutil

import pandas as pd
import pytest
import safetensors.torch
from architectures import tiny, with_tokenizer  # noqa: F401  a fixture
from conftest import Project

from goldilocks.models import windows
from tools import attention


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command, in a folder with nothing in it and without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return lambda *arguments: Project(tmp_path).here("tools.attention", *map(str, arguments))


def test_of_a_long_text_only_the_beginning_is_read(tmp_path):
    (tmp_path / "long.txt").write_text("γ" * 1000, "utf-8")
    assert attention.read_text(tmp_path / "long.txt", 10) == "γ" * 10
    assert attention.read_text(tmp_path / "long.txt", 2000) == "γ" * 1000
    assert attention.LENGTH == windows.LENGTH


def test_heads_are_counted_and_written(command, with_tokenizer, tmp_path):  # noqa: F811
    text, out = with_tokenizer / "text.txt", tmp_path / "heads.parquet"
    done = command(with_tokenizer, "--text", text, "--windows", 3, "--length", 32, "--out", out)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(out)
    assert len(frame) == 8
    counts = frame["zone"].value_counts()
    for place in ("inside", "saturated", "flat"):
        assert f"{counts.get(place, 0)} {place}" in done.stdout
    worst = frame.loc[frame["relative_gradient"].idxmin()]
    assert f"block {worst['block']} head {worst['head']}" in done.stdout
    assert "3 windows, 96 tokens" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nowhere/at all", "--text", "{text}"), "nowhere/at all"),
        (("{model}", "--text", "nowhere.txt"), "nowhere.txt: No such file"),
        (("{model}", "--text", "{text}", "--out", "{text}"), "exists and is no Parquet file"),
        (("{model}", "--text", "{model}"), "Is a directory"),
        (("{model}", "--text", "{bytes}"), "not UTF-8 text"),
        (("{model}", "--text", "{text}", "--windows", 0), "must lie in 1 to 1,000,000"),
        (("{text}", "--text", "{text}"), "transformers can't load it"),
        (("{cut}", "--text", "{text}"), "of its tensors are not in its files, such as h.1."),
        (("{mamba}", "--text", "{text}"), "it has no softmax attention"),
    ],
)
def test_a_mistake_is_told_in_one_line(command, with_tokenizer, tmp_path, arguments, reason):  # noqa: F811
    here = {"model": with_tokenizer, "text": with_tokenizer / "text.txt"}
    here |= {name: tmp_path / name for name in ("bytes", "cut", "mamba")}
    here["bytes"].write_bytes(b"a\xff")
    if "{cut}" in arguments:
        shutil.copytree(with_tokenizer, here["cut"])
        tensors = safetensors.torch.load_file(with_tokenizer / "model.safetensors")
        some = {name: tensor for name, tensor in tensors.items() if not name.startswith("h.1.")}
        safetensors.torch.save_file(some, here["cut"] / "model.safetensors", {"format": "pt"})
    elif "{mamba}" in arguments:
        shutil.copytree(with_tokenizer, here["mamba"])
        tiny("mamba").save_pretrained(here["mamba"])
    done = command(*(str(argument).format(**here) for argument in arguments))
    assert done.returncode == 2, done.stdout
    assert reason in done.stderr
    assert [line.startswith(("usage", " ")) for line in done.stderr.splitlines()].count(False) == 1
