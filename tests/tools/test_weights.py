"""`goldilocks weights`: what it prints, draws, writes and refuses."""

import numpy as np
import pandas as pd
import pytest
from conftest import Project
from safetensors.numpy import save_file
from test_models_weights import checkpoint, drawn


def command(folder, *arguments):
    return Project(folder).here("tools.weights", *map(str, arguments))


def test_a_series_is_drawn_written_counted_and_judged(tmp_path):
    run = [[[matrix * n for matrix in one] for one in drawn()] for n in (1, 3)]
    folders = [checkpoint(tmp_path / f"checkpoint-{n}", of, heads=4) for n, of in zip((1, 3), run, strict=True)]
    out, figure = tmp_path / "w.parquet", tmp_path / "f.svg"
    done = command(tmp_path, *folders, "--out", out, "--figure", figure)
    assert done.returncode == 0, done.stderr
    assert "2 checkpoints, steps 1 … 3, one training; 2 modules of 4 heads" in done.stdout
    assert "3-fold the first's" in done.stdout
    assert done.stdout.count("an honest interval needs") == 1
    assert "since an honest interval needs 2 or more:\n  W5  on the claimed side" in done.stdout
    assert len(pd.read_parquet(out)) == 2 * 2 * (8 + 4)
    assert figure.read_text("utf-8").endswith("</svg>\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name checkpoints, or a folder with --from"),
        (("{good}", "--from", "{empty}"), "name checkpoints, or a folder with --from"),
        (("{good}", "--figure", "{empty}/f.png"), "--figure must be the name of an .svg file"),
        (("{good}", "--out", "{text}"), "exists and is no Parquet file"),
        (("{nowhere}",), "no such file or folder"),
        (("{good}", "{wider}"), "has another shape than in"),
        (("{whole}",), "is stored as I32; only F32, F16, F64, BF16 are read"),
        (("--from", "{empty}"), "no weights/step-*.parquet in it"),
        (("--from", "{foreign}"), "no column"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path, arguments, reason):
    here = {name: tmp_path / name for name in ("empty", "nowhere", "whole", "foreign", "text")}
    for name in ("empty", "whole"):
        here[name].mkdir()
    here["text"].write_text("words", "utf-8")
    integers = {f"h.0.{part}_proj.weight": np.ones((4, 4), np.int32) for part in "qkv"}
    save_file(integers, here["whole"] / "model.safetensors")
    (here["foreign"] / "weights").mkdir(parents=True)
    pd.DataFrame({"a": [1]}).to_parquet(here["foreign"] / "weights" / "step-000000.parquet")
    here["good"] = checkpoint(tmp_path / "step1", drawn())
    here["wider"] = checkpoint(tmp_path / "step2", drawn(rows=(16, 4, 4)))
    done = command(tmp_path, *(str(argument).format(**here) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert [line.startswith(("usage", " ")) for line in done.stderr.splitlines()].count(False) <= 1
