import json
import sys

import pandas as pd
import pytest

from tools import curves


def checkpoint(folder, seed, step, losses):
    made = folder / f"data/checkpoints/seed-{seed}-0123abcd/step-{step:06d}"
    made.mkdir(parents=True)
    rows = {"step": list(range(len(losses))), "split": ["train"] * len(losses), "loss": losses}
    (made / "progress.json").write_text(json.dumps({"tables": {"losses": rows}}))
    return made


def test_the_newest_checkpoint_of_each_training_is_shown_if_there_is_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["curves", "--once"])
    curves.main()
    assert "no unfinished training" in capsys.readouterr().out
    assert not (tmp_path / "data/curves.html").exists()
    checkpoint(tmp_path, 0, 1, [9.0])
    checkpoint(tmp_path, 0, 3, [9.0, 8.0, 7.0])
    checkpoint(tmp_path, 1, 2, [9.0, 8.5])
    broken = checkpoint(tmp_path, 1, 4, [1.0])
    (broken / "progress.json").write_text("{")
    assert {name: table["loss"].tolist() for name, table in curves.losses().items()} == {
        "seed-0": [9.0, 8.0, 7.0],
        "seed-1": [9.0, 8.5],
    }
    curves.main()
    page = (tmp_path / "data/curves.html").read_text("utf-8")
    assert "seed-0 at step 2, seed-1 at step 1." in page
    assert '<meta http-equiv="refresh"' in page and "<svg" in page
    assert "data/curves.html" in capsys.readouterr().out


def test_the_curve_of_training_batches_is_a_mean_over_20_steps():
    found = pd.DataFrame({"step": range(40), "split": "train", "loss": [0.0] * 20 + [1.0] * 20})
    (line, *_) = curves.figure({"seed-0": found}).axes[0].lines
    assert line.get_ydata()[[19, 29, 39]] == pytest.approx([0, 0.5, 1])
