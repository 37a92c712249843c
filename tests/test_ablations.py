import json
import math
import shutil

import pandas as pd
import pytest
from conftest import Project

from stages import ablations
from stages.ablation import summary
from stages.common import files, tables
from stages.common.cli import UserError

SEEDS = (0, 1, 2)


def run(condition, seed, loss, entropy, residual, gradients, jump, diverged=False):
    """Rows of one run with looks at steps 0 and 10; residual and gradients are by block."""
    rows = [("test_loss", 0, -1, 8.0), ("test_loss", 10, -1, loss)]
    for block, size in enumerate(gradients):
        rows += [("std", 0, block, 0.02), ("std", 10, block, 0.03), ("attention_entropy", 0, block, entropy),
                 ("attention_entropy", 10, block, entropy / 2), ("largest_logit", 0, block, 3.0),
                 ("gradient_log_mean", 10, block, size), ("gradient_log_jump", 10, block, jump),
                 ("gradient_log_spread", 10, block, 2 * jump)]  # fmt: skip
    rows += [("residual_rms", step, block, size) for step in (0, 10) for block, size in enumerate(residual)]
    if diverged:
        rows = [*rows[:1], *(row for row in rows if row[1] == 0), ("diverged", 4, -1, 1.0)]
    frame = pd.DataFrame(rows, columns=["quantity", "step", "block", "value"])
    return frame.assign(condition=condition, seed=seed)


def runs():
    parts = []
    for seed in SEEDS:
        more = 0.1 * seed
        parts += [
            run("scaled", seed, 6.0 + more, 0.9, [1.0, 2.0, math.e], [-1.0, -1.0], 0.3),
            run("scaled_wide", seed, 7.0 + more, 0.4, [1.0, 2.0, 4.0], [-1.0, -2.0], 0.3),
            run("no_layernorm", seed, 6.5 + 2 * more, 1.0, [1.0, 2.0, math.e**2], [-1.0, -3.0 - more], 0.5 + more),
            run("untied", seed, 9.0, 0.9, [1.0, 1.0, 1.0], [0.0, 0.0], 0.3, diverged=seed == 1),
        ]
    return pd.concat(parts, ignore_index=True)


def test_what_is_told_of_a_condition():
    found = summary.of_condition(runs(), "scaled")
    assert found["last_test_loss"]["value"] == pytest.approx(6.1)
    assert found["first_test_loss"]["value"] == 8
    assert found["added_loss"]["value"] == 0
    assert (found["initial_attention_entropy"]["value"], found["final_attention_entropy"]["value"]) == (0.9, 0.45)
    assert found["widening"]["value"] == pytest.approx(0.5)
    assert found["drift"]["value"] == pytest.approx(1)
    assert (found["imbalance"]["value"], found["diverged"]) == (0, 0)


def test_differences_are_of_pairs_of_one_seed():
    wide = summary.difference(runs(), "last_test_loss", "scaled_wide")
    assert (wide["value"], wide["low"], wide["high"], wide["n"]) == pytest.approx((1, 1, 1, 3)), "the seeds cancel"
    found = summary.summary(runs())["without_layernorm"]
    assert found["drift"]["value"] == pytest.approx(1)
    assert found["imbalance"]["value"] == pytest.approx(1.05)
    assert found["gradient_jump"]["value"] == pytest.approx(0.3)
    assert found["gradient_jump"]["low"] < 0.1


def test_a_run_that_diverged_counts_as_such_and_has_no_last_loss():
    found = summary.of_condition(runs(), "untied")
    assert found["diverged"] == 1
    assert found["last_test_loss"]["n"] == found["added_loss"]["n"] == 2
    assert found["initial_attention_entropy"]["n"] == 3
    everyone = pd.concat([run("scaled", s, 6.0, 0.9, [1.0, 2.0], [0.0, 0.0], 0.1, diverged=True) for s in SEEDS])
    assert "last_test_loss" not in summary.of_condition(everyone, "scaled")


def test_entropy_at_the_start_is_ranked_with_the_loss_at_the_end_over_the_grid_only():
    found = summary.summary(runs())["initial_entropy_and_last_loss"]["rank_correlation"]
    assert (found["value"], found["n"]) == (pytest.approx(-1), 3)


def test_what_is_missing_or_of_other_parameters_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "RUNS", tmp_path)
    settings = ablations.Settings(conditions=["scaled"], seeds=[0, 1])
    columns = {"quantity": ["test_loss"], "step": [0], "block": [-1], "value": [8.0]}

    def made(seed, **more):
        made_by = {"ablate": {"width": 8} | more, "run": {}, "condition": "scaled", "seed": seed}
        tables.write(tmp_path / "scaled" / f"seed-{seed}.parquet", "ablation", columns, made_by)

    made(0)
    with pytest.raises(UserError, match=r"seed-1.parquet: no such file \(1 of 2 runs\); run make ablations"):
        ablations.gather(settings)
    made(1, width=9)
    with pytest.raises(UserError, match=r"other parameters than .*seed-0"):
        ablations.gather(settings)
    made(1)
    found, made_with = ablations.gather(settings)
    assert found["seed"].tolist() == [0, 1]
    assert made_with == {"ablate": {"width": 8}, "run": {}}


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (["scaled", "scalde"], "no such condition: scalde; there are: scaled, scaled_narrow"),
        (["unscaled"], "must hold 'scaled'"),
        (["scaled", "scaled"], "no condition may stand twice"),
    ],
)
def test_conditions_that_say_nothing_are_refused(conditions, told):
    with pytest.raises(ValueError, match=told):
        ablations.Settings(conditions=conditions, seeds=[0])


def test_the_committed_summary_is_that_of_the_committed_runs(committed, tmp_path):
    """What `make ablations` ends with, again."""
    project = Project(committed).copy(tmp_path / "project")
    before, after = (folder / "reports" / "ablations" for folder in (committed, project.folder))
    shutil.rmtree(after)
    project.check("python", "-m", "stages.ablations")
    names = sorted(path.name for path in before.iterdir())
    assert "metrics.json" in names
    assert sorted(path.name for path in after.iterdir()) == names
    for name in names:
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
    found = files.read_json(before / "metrics.json")
    assert found["made_with"]["seeds"] >= 3


@pytest.mark.slow
def test_one_more_seed_trains_only_itself_and_make_repro_trains_none(rebuilt):
    def trained():
        printed = rebuilt.check("make", "ablations")
        return {line.split("'")[1].split(":")[-1] for line in printed.splitlines() if line.startswith("Running stage")}

    conditions = ("scaled", "scaled_wide", "no_layernorm")
    assert trained() >= {f"ablate@{condition}-{seed}" for condition in conditions for seed in (0, 1)}
    assert rebuilt.run("dvc", "status", "-q").returncode == 0
    found = json.loads(rebuilt.read("reports/metrics/claims.json"))["S13"]
    assert found["n"] == 2
    rebuilt.configure("ablations.seeds=[0,1,7]")
    assert {name for name in trained() if name.startswith("ablate@")} == {f"ablate@{c}-7" for c in conditions}
    assert json.loads(rebuilt.read("reports/metrics/claims.json"))["S13"]["n"] == 3
    rebuilt.configure("tokens.train_share=0.8", "ablate.steps=6")
    assert not [name for name in rebuilt.repro() if name.startswith("ablate")]
    assert rebuilt.run("dvc", "status", "-q").returncode == 1, "but DVC says that the ablations are out of date"
