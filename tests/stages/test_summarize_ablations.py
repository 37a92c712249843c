import json
import math
import shutil

import pandas as pd
import pytest
from conftest import Project

from goldilocks.ablations import runs, summary
from goldilocks.ablations.summary import Thresholds
from goldilocks.core import files, schemas, tables
from goldilocks.core.cli import UserError
from goldilocks.plotting import ablations, palette, style
from stages import summarize_ablations

SEEDS = (0, 1, 2)
RATES = dict.fromkeys(("scaled", "untied", "brief", "brief_by_d", "width_64", "width_64_by_d"), 1e-3)
RATES |= {"scaled_wide_blocks": 3e-3, "no_layernorm": 3e-4}
THRESHOLDS = Thresholds(attends=0.3, gain=0.5, least_gradient=0.5, least_discrimination=2.0)


def run(condition, seed, loss, entropy, residual, seen, gradients, jump, cost=0.4, unigram=7.5, zone=1, diverged=False):
    """Rows of one run with looks at steps 0 and 10; residual, seen and gradients are by block.

    Of two heads in each block, both lie in the zone at the start, and at the end those of the first `zone` blocks.
    """
    rows = [("test_loss", 0, -1, 8.0), ("test_loss", 10, -1, loss), ("unigram_loss", 0, -1, unigram),
            ("test_loss_without_attention", 10, -1, loss + cost)]  # fmt: skip
    of_heads = []
    for block, size in enumerate(gradients):
        rows += [("std", 0, block, 0.02), ("std", 10, block, 0.03), ("attention_entropy", 0, block, entropy),
                 ("attention_entropy", 10, block, entropy / 2), ("largest_logit", 0, block, 3.0),
                 ("gradient_log_mean", 10, block, size), ("gradient_log_jump", 10, block, jump),
                 ("gradient_log_spread", 10, block, 2 * jump)]  # fmt: skip
        for head in (0, 1):
            for step, inside in ((0, True), (10, block < zone)):
                of_heads += [("relative_gradient", step, block, 0.5 if inside else 0.5 - 0.1 * head, head),
                             ("discrimination", step, block, 2.0 if inside else 1.9 + 0.2 * head, head),
                             ("logit_std", step, block, 1.0 + step, head)]  # fmt: skip
    for step in (0, 10):
        rows += [("residual_rms", step, block, size) for block, size in enumerate(residual)]
        rows += [("input_rms", step, block, size) for block, size in enumerate(seen)]
    if diverged:
        rows = [*rows[:1], *(row for row in rows if row[1] == 0), ("diverged", 4, -1, 1.0)]
        of_heads = [row for row in of_heads if row[1] == 0]
    frame = pd.DataFrame(
        [(*row, -1) for row in rows] + of_heads, columns=["quantity", "step", "block", "value", "head"]
    )
    return frame.drop_duplicates(ignore_index=True).assign(condition=condition, seed=seed)


def everything():
    parts = []
    for seed in SEEDS:
        more, e = 0.1 * seed, math.e
        parts += [
            run("scaled", seed, 6.0 + more, 0.9, [1.0, 2.0, e], [1.0, 1.0], [-1.0, -1.0], 0.3, zone=2),
            run("scaled_wide_blocks", seed, 7.0 + more, 0.4, [1.0, 2.0, 4.0], [1.0, 1.0], [-1.0, -2.0], 0.3),
            run("no_layernorm", seed, 6.5 + 2 * more, 1.0, [1.0, 2.0, e**2], [e**2, e], [-1.0, -3.0 - more],
                0.5 + more),
            run("untied", seed, 9.0, 0.9, [1.0, 1.0, 1.0], [1.0, 1.0], [0.0, 0.0], 0.3, diverged=seed == 1),
        ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def told(found=None):
    return summary.summary(everything() if found is None else found, RATES, THRESHOLDS)


def test_what_is_told_of_a_condition():
    found = told()["conditions"]["scaled"]
    values = {name: of["value"] for name, of in found.items() if isinstance(of, dict) and "value" in of}
    assert values == pytest.approx({
        "initial_attention_entropy": 0.9, "final_attention_entropy": 0.45, "initial_largest_logit": 3,
        "initial_logit_std": 1, "final_logit_std": 11, "first_test_loss": 8, "last_test_loss": 6.1,
        "cost_of_deletion": 0.4, "gain_on_unigrams": 1.4, "widening": 0.5, "drift": 0, "residual_growth": math.e,
        "imbalance": 0, "gradient_jump": 0.3, "gradient_spread": 0.6, "initial_share_in_zone": 1,
        "final_share_in_zone": 1, "added_loss": 0,
    })  # fmt: skip
    assert (found["learning_rate"], found["diverged"], found["attends"]) == (1e-3, 0, True)
    assert told()["conditions"]["no_layernorm"]["drift"]["value"] == pytest.approx(1), "down counts as up does"


def test_a_head_lies_in_the_zone_only_by_both_of_its_thresholds():
    found = told()["conditions"]["scaled_wide_blocks"]
    assert (found["initial_share_in_zone"]["value"], found["final_share_in_zone"]["value"]) == (1, 0.5)


@pytest.mark.parametrize(
    ("changes", "attends"),
    [
        ({}, True),
        ({"cost": 0.29}, False),
        ({"unigram": 6.5}, False),
        ({"cost": 0.31, "unigram": 6.6}, True),
    ],
)
def test_a_condition_attends_if_deletion_costs_enough_and_counts_are_beaten(changes, attends):
    found = pd.concat([run("scaled", s, 6.0 + 0.01 * s, 0.9, [1.0] * 3, [1.0] * 2, [0.0] * 2, 0.1, **changes)
                       for s in SEEDS])  # fmt: skip
    assert told(found)["conditions"]["scaled"]["attends"] is attends


def test_the_whole_interval_must_show_that_a_condition_attends():
    found = pd.concat([run("scaled", s, 6.0, 0.9, [1.0] * 3, [1.0] * 2, [0.0] * 2, 0.1, cost=0.31 + 0.4 * s)
                       for s in SEEDS])  # fmt: skip
    one = told(found)["conditions"]["scaled"]
    assert one["cost_of_deletion"]["value"] > 0.3 > one["cost_of_deletion"]["low"]
    assert one["attends"] is False


def test_differences_are_of_pairs_of_one_seed():
    wide = told()["conditions"]["scaled_wide_blocks"]["added_loss"]
    assert (wide["value"], wide["low"], wide["high"], wide["n"]) == pytest.approx((1, 1, 1, 3)), "the seeds cancel"
    found = told()["without_layernorm"]
    assert found["drift"]["value"] == pytest.approx(1)
    assert found["imbalance"]["value"] == pytest.approx(1.05)
    assert found["gradient_jump"]["value"] == pytest.approx(0.3)
    assert found["gradient_jump"]["low"] < 0.1
    assert found["last_test_loss"]["value"] == pytest.approx(0.6)
    assert found["share_in_zone"]["value"] == 0.5, "with LayerNorm less without"


def test_a_run_that_diverged_counts_as_such_and_has_no_last_loss():
    found = told()["conditions"]["untied"]
    assert found["diverged"] == 1
    assert found["last_test_loss"]["n"] == found["added_loss"]["n"] == found["cost_of_deletion"]["n"] == 2
    assert found["initial_attention_entropy"]["n"] == 3
    lost = [run("scaled", s, 6.0, 0.9, [1.0] * 3, [1.0] * 2, [0.0] * 2, 0.1, diverged=True) for s in SEEDS]
    one = told(pd.concat(lost))["conditions"]["scaled"]
    assert "last_test_loss" not in one
    assert one["attends"] is False


def of_sizes():
    """A base of the usual size, and two sizes with 1/√d and 1/d, whose last losses differ by 0.5 and -0.25."""
    alike = (0.9, [1.0] * 3, [1.0] * 2, [0.0] * 2, 0.1)
    losses = {"scaled": 5.0, "brief": 6.0, "brief_by_d": 6.5, "width_64": 6.25, "width_64_by_d": 6.0}
    return pd.concat(run(name, s, loss + 0.1 * s, *alike) for s in SEEDS for name, loss in losses.items())


def test_what_another_size_adds_is_told_less_the_condition_of_that_size_with_1_over_root_d():
    found = told(of_sizes())["conditions"]
    added = {name: of["added_loss"]["value"] for name, of in found.items()}
    assert added == pytest.approx({"scaled": 0, "brief": 0, "brief_by_d": 0.5, "width_64": 0, "width_64_by_d": -0.25})


def test_the_figure_of_sizes_shows_the_metrics():
    found = told(of_sizes())["conditions"]
    found["brief_by_d"]["attends"] = False
    with style.applied():
        panels = ablations.sizes(found, 7.0).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["width 64, d 32", "width 128, d 32"]
    for axes, quantity in zip(panels, ("initial_logit_std", "last_test_loss", "added_loss"), strict=True):
        shown = {
            (round(line.get_ydata()[0], 2), line.get_color()): line for line in axes.lines if line.get_marker() == "o"
        }
        expected = {
            (round(y + shift, 2), palette.SCALINGS[scaling]): found[name][quantity]["value"]
            for name, y, shift, scaling in (
                ("brief", 1, -0.16, "scaled"), ("brief_by_d", 1, 0.16, "scaled_by_d"),
                ("width_64", 0, -0.16, "scaled"), ("width_64_by_d", 0, 0.16, "scaled_by_d"),
            )
            if quantity != "added_loss" or "by_d" in name
        }  # fmt: skip
        assert {place: line.get_xdata()[0] for place, line in shown.items()} == pytest.approx(expected)
        hollow = [place for place, line in shown.items() if line.get_markerfacecolor() == "white"]
        assert hollow == [(1.16, palette.SCALINGS["scaled_by_d"])]


def write_run(folder, condition, seed, width=8, rate=1e-3):
    columns = {"quantity": ["test_loss"], "step": [0], "block": [-1], "head": [-1], "value": [8.0]}
    made_by = {"ablate": {"width": width}, "run": {}, "condition": condition, "seed": seed, "learning_rate": rate}
    tables.write(folder / condition / f"seed-{seed}.parquet", "ablation", columns, made_by)


def test_what_is_missing_or_of_other_parameters_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RUNS", tmp_path)
    settings = summarize_ablations.Settings(conditions=["scaled", "untied"], seeds=[0, 1])
    for condition in ("scaled", "untied"):
        write_run(tmp_path, condition, 0, rate=RATES[condition] / 2)
    write_run(tmp_path, "scaled", 1, rate=5e-4)
    with pytest.raises(UserError, match=r"untied/seed-1.parquet: no such file \(1 of 4 runs\); run make ablations"):
        summarize_ablations.gather(settings)
    write_run(tmp_path, "untied", 1, width=9)
    with pytest.raises(UserError, match=r"other parameters than .*scaled/seed-0"):
        summarize_ablations.gather(settings)
    write_run(tmp_path, "untied", 1, rate=5e-4)
    found, rates, made_with = summarize_ablations.gather(settings)
    assert found[["condition", "seed"]].to_numpy().tolist() == [
        ["scaled", 0], ["scaled", 1], ["untied", 0], ["untied", 1]
    ]  # fmt: skip
    assert rates == {"scaled": 5e-4, "untied": 5e-4}
    assert made_with == {"ablate": {"width": 8}, "run": {}}


def write_control(folder, seed, steps):
    """Weights whose σ grows by a tenth times (seed + 1), in two blocks."""
    names = [name for name in schemas.schema("weights").names if name not in ("step", "block", "part", "head")]
    rows = [
        {"step": step, "block": block, "part": part, "head": -1}
        | dict.fromkeys(names, 1.0) | {"q99": 2.0, "q75": 1.5, "q25": 0.5}
        | {"std": 0.02 * (1 + (step > 0) * 0.1 * (seed + 1))}
        for step in (0, 4) for block in (0, 1) for part in ("q", "k", "v", "qkv")
    ]  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    made_by = {"train": {"steps": steps}, "run": {}, "seed": seed}
    tables.write(folder / f"seed-{seed}.parquet", "weights", columns, made_by)


def test_the_control_is_told_of_each_seed_and_over_them(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CONTROL", tmp_path)
    write_control(tmp_path, 3, 5)
    with pytest.raises(UserError, match=r"seed-1.parquet: no such file \(1 of 2 runs\)"):
        summarize_ablations.control([3, 1])
    write_control(tmp_path, 1, 6)
    with pytest.raises(UserError, match="other parameters than"):
        summarize_ablations.control([3, 1])
    write_control(tmp_path, 1, 5)
    found = summarize_ablations.control([3, 1])
    assert found["growth_of_std"]["value"] == pytest.approx(0.3)
    assert found["growth_of_std"]["n"] == 2
    assert found["by_seed"]["growth_of_std"] == pytest.approx({"seed_1": 0.2, "seed_3": 0.4})
    assert found["made_with"].items() >= {"steps": 5}.items()
    assert found["made_with"]["tokens"] == files.read_metrics("tokens"), "what is known of the text"


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (["scaled", "scalde"], "no such condition: scalde; there are: scaled, scaled_wide_blocks"),
        (["unscaled"], "must hold 'scaled'"),
        (["scaled", "scaled"], "no condition may stand twice"),
    ],
)
def test_conditions_that_say_nothing_are_refused(conditions, told):
    with pytest.raises(ValueError, match=told):
        summarize_ablations.Settings(conditions=conditions, seeds=[0])


def test_the_committed_summary_is_that_of_the_committed_runs(committed, tmp_path):
    """What `make ablations` ends with, again."""
    project = Project(committed).copy(tmp_path / "project")
    before, after = (folder / "reports" / "ablations" for folder in (committed, project.folder))
    shutil.rmtree(after)
    done = project.here("summarize_ablations")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in before.iterdir())
    assert "metrics.json" in names
    assert sorted(path.name for path in after.iterdir()) == names
    for name in names:
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
    found = files.read_json(before / "metrics.json")
    assert found["made_with"]["seeds"] >= 3


def seeds_of_summary(project):
    """How many seeds the summary's difference is of; so small a model does not attend, and no claim has it."""
    return json.loads(project.read("reports/ablations/metrics.json"))["without_layernorm"]["gradient_jump"]["n"]


@pytest.mark.slow
def test_one_more_seed_trains_only_itself_and_make_repro_trains_none(rebuilt):
    def trained():
        printed = rebuilt.check("make", "ablations")
        return {line.split("'")[1].split(":")[-1] for line in printed.splitlines() if line.startswith("Running stage")}

    conditions, rates = ("scaled", "unscaled", "no_layernorm"), ("0.0003", "0.001", "0.003")
    done = trained()
    assert done >= {f"ablate@{condition}-{seed}" for condition in conditions for seed in (0, 1)}
    assert done >= {f"rate@{condition}-{rate}" for condition in conditions for rate in rates}
    assert done >= {"control@0", "control@1"}
    assert rebuilt.run("dvc", "status", "-q").returncode == 0
    assert seeds_of_summary(rebuilt) == 2
    rebuilt.configure("ablations.seeds=[0,1,7]")
    done = {name for name in trained() if "@" in name and not name.startswith("train@")}
    assert done == {"control@7", *(f"ablate@{c}-7" for c in conditions)}
    assert seeds_of_summary(rebuilt) == 3
    rebuilt.configure("tokens.train_share=0.8", "ablate.steps=6")
    assert not [name for name in rebuilt.repro() if name.startswith(("ablate", "rate", "control"))]
    assert rebuilt.run("dvc", "status", "-q").returncode == 1, "but DVC says that the ablations are out of date"
