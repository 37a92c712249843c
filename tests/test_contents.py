"""What a file holds is the same however it is stored, and tells when it is another."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from safetensors.numpy import save_file

from stages.verification import contents
from stages.verification.contents import DATA, below, md5_of_folder
from stages.verification.pipeline import DIGESTS, LOCK, Recorded


@pytest.fixture
def frame():
    return pd.DataFrame({"name": ["a", "b", "a"], "value": [1.5, math.nan, -3.0], "n": [1, 2, 3]})


def table(path, frame, **options):
    frame.to_parquet(path, **options)
    return contents.contents(path)


def test_a_table_is_its_rows_however_they_are_stored(tmp_path, frame):
    first = table(tmp_path / "a.parquet", frame, compression="zstd")
    assert first == table(tmp_path / "b.parquet", frame, compression=None, row_group_size=1)
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "b.parquet").read_bytes()
    assert first | {DATA: ""} == {
        "rows": 3, "name.type": first["name.type"], "name.texts": contents.digest("a", "b", "a"),
        "value.type": "double", "value.finite": 2, "value.mean": -0.75, "value.std": 2.25,
        "value.min": -3.0, "value.max": 1.5,
        "n.type": "int64", "n.finite": 3, "n.mean": 2.0, "n.std": 0.816497, "n.min": 1.0, "n.max": 3.0, DATA: "",
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"value": [1.5, math.nan, -3.000001]}, {"n": [3, 2, 1]}, {"name": ["a", "a", "b"]}])
def test_another_cell_is_another_table(tmp_path, frame, change):
    before = table(tmp_path / "a.parquet", frame)[DATA]
    assert table(tmp_path / "a.parquet", frame.assign(**change))[DATA] != before


def test_tensors_are_summarised_in_every_type(tmp_path):
    import torch
    from safetensors.torch import save_file as save_torch

    save_file({"a": np.array([1.0, -2.0], "f4"), "b": np.array([[4]], "i4")}, tmp_path / "a.safetensors")
    found = contents.of_tensors(tmp_path / "a.safetensors")
    assert (found["finite"], found["mean"], found["min"], found["max"]) == (3, 1.0, -2.0, 4.0)
    save_torch({"a": torch.tensor([1.5, -0.25, 3.0], dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    found = contents.of_tensors(tmp_path / "b.safetensors")
    assert (found["finite"], found["mean"], found["min"], found["max"]) == (3, 1.41667, -0.25, 3.0)


def test_a_page_is_its_text_and_its_numbers(tmp_path):
    def page(line, sample="x", name="m0123456789"):
        text = f'<p>σ = {line}, 12 of 3e-05</p><pre>{sample}</pre><use href="#{name}"/><code>a1b2 4f</code>'
        (tmp_path / "a.html").write_text(text, "utf-8")
        return contents.of_page(tmp_path / "a.html")

    first, second = page("-0.25"), page("7", sample="y", name="p9876543210")
    assert first["numbers"] == [-0.25, 12, 3e-05]
    assert second["numbers"] == [7, 12, 3e-05]
    assert first["text"] == second["text"]
    assert first["text"] != page("a quarter")["text"]


def test_pictures_in_a_page_are_looked_into():
    found = contents.of_page(ROOT / "reports/index.html")
    figure = contents.of_page(ROOT / "reports/figures/softmax.svg")
    assert len(figure["numbers"]) > 100
    assert len(figure["pixels"]) % 7 == 0, "height, width, channels and the mean of four colours"
    assert len(figure["pixels"]) > 0
    assert set(figure["numbers"]) <= set(found["numbers"])
    assert len(found["pixels"]) > len(figure["pixels"])


def test_folders_are_named_as_dvc_names_them():
    hashes = {path: entry["md5"] for path, entry in json.loads((ROOT / DIGESTS).read_text("utf-8")).items()}
    recorded = {path: value for _, path, value in Recorded(ROOT / LOCK).hashes("outs")}
    assert any(value.endswith(".dir") for value in recorded.values())
    for path, value in recorded.items():
        inside = {name.removeprefix(f"{path}/"): own for name, own in hashes.items() if name.startswith(f"{path}/")}
        if inside:
            assert md5_of_folder(inside) == value, path


def test_half_written_files_are_no_outputs(tmp_path):
    for name in ("a.json", ".b.json.tmp"):
        (tmp_path / name).touch()
    assert below(tmp_path) == [tmp_path / "a.json"]
    assert below(tmp_path / "absent") == []
