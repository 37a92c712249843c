import json
import math
import shutil
from itertools import product

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
RATES |= {"scaled_wide_blocks": 3e-3, "no_layernorm": 3e-4, "scaled_by_d": 1e-3, "scaled_by_d_wide_qk": 1e-3}
THRESHOLDS = Thresholds(attends=0.3, gain=0.5, least_gradient=0.5, least_discrimination=2.0)


def run(condition, seed, loss, entropy, residual, seen, gradients, jump, cost=0.4, unigram=7.5, zone=1, diverged=False):
    """Rows of one run with looks at steps 0 and 10; residual, seen and gradients are by block.

    Of two heads in each block, both lie in the zone at the start, and at the end those of the first `zone` blocks.
    """
    whole = {"test_loss": loss, "test_loss_without_attention": loss + cost}
    rows = [("test_loss", 0, -1, -1, 8.0), ("unigram_loss", 0, -1, -1, unigram)]
    rows += [(name, 10, -1, -1, value) for name, value in whole.items()]
    for block, size in enumerate(gradients):
        of_block = {0: {"std": 0.02, "attention_entropy": entropy, "largest_logit": 3.0},
                    10: {"std": 0.03, "attention_entropy": entropy / 2, "gradient_log_mean": size,
                         "gradient_log_jump": jump, "gradient_log_spread": 2 * jump}}  # fmt: skip
        rows += [(name, step, block, -1, value) for step, of in of_block.items() for name, value in of.items()]
        for head, step in product((0, 1), (0, 10)):
            inside = step == 0 or block < zone
            rows += [("relative_gradient", step, block, head, 0.5 if inside else 0.5 - 0.1 * head),
                     ("discrimination", step, block, head, 2.0 if inside else 1.9 + 0.2 * head),
                     ("logit_std", step, block, head, 1.0 + step)]  # fmt: skip
    for step, (name, sizes) in product((0, 10), (("residual_rms", residual), ("input_rms", seen))):
        rows += [(name, step, block, -1, size) for block, size in enumerate(sizes)]
    if diverged:
        rows = [row for row in rows if row[1] == 0] + [("diverged", 4, -1, -1, 1.0)]
    frame = pd.DataFrame(rows, columns=["quantity", "step", "block", "head", "value"])
    return frame.assign(condition=condition, seed=seed)


def of_seeds(condition, loss=6.0, more=0.0, **changes):
    """A run of each seed, all alike but for `more` loss with each seed."""
    alike = (0.9, [1.0] * 3, [1.0] * 2, [0.0] * 2, 0.1)
    return pd.concat(run(condition, seed, loss + more * seed, *alike, **changes) for seed in SEEDS)


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


def told(found):
    return summary.summary(found, RATES, THRESHOLDS)


@pytest.fixture(scope="module")
def all_told():
    return told(everything())


def test_what_is_told_of_a_condition(all_told):
    others = all_told["conditions"]
    found = others["scaled"]
    values = {name: of["value"] for name, of in found.items() if isinstance(of, dict) and "value" in of}
    assert values == pytest.approx({
        "initial_attention_entropy": 0.9, "final_attention_entropy": 0.45, "initial_largest_logit": 3,
        "initial_logit_std": 1, "final_logit_std": 11, "first_test_loss": 8, "last_test_loss": 6.1,
        "cost_of_deletion": 0.4, "gain_on_unigrams": 1.4, "widening": 0.5, "drift": 0, "residual_growth": math.e,
        "imbalance": 0, "gradient_jump": 0.3, "gradient_spread": 0.6, "initial_share_in_zone": 1,
        "final_share_in_zone": 1, "added_loss": 0,
    })  # fmt: skip
    assert (found["learning_rate"], found["diverged"], found["attends"]) == (1e-3, 0, True)
    assert others["no_layernorm"]["drift"]["value"] == pytest.approx(1), "down counts as up does"
    zone = [others["scaled_wide_blocks"][f"{when}_share_in_zone"]["value"] for when in ("initial", "final")]
    assert zone == [1, 0.5], "a head lies in the zone by both of its thresholds"


@pytest.mark.parametrize(
    ("changes", "attends"),
    [
        ({}, True),
        ({"cost": 0.29}, False),
        ({"unigram": 6.5}, False),
        ({"cost": 0.31, "unigram": 6.6}, True),
        ({"diverged": True}, False),
    ],
)
def test_a_condition_attends_if_deletion_costs_enough_and_counts_are_beaten(changes, attends):
    assert told(of_seeds("scaled", more=0.01, **changes))["conditions"]["scaled"]["attends"] is attends


def test_the_whole_interval_must_show_that_a_condition_attends():
    costs = [of_seeds("scaled", cost=0.31 + 0.4 * seed).query(f"seed == {seed}") for seed in SEEDS]
    one = told(pd.concat(costs))["conditions"]["scaled"]
    assert one["cost_of_deletion"]["value"] > 0.3 > one["cost_of_deletion"]["low"]
    assert one["attends"] is False


def test_differences_are_of_pairs_of_one_seed(all_told):
    wide = all_told["conditions"]["scaled_wide_blocks"]["added_loss"]
    assert (wide["value"], wide["low"], wide["high"], wide["n"]) == pytest.approx((1, 1, 1, 3)), "the seeds cancel"
    found = all_told["without_layernorm"]
    assert found["drift"]["value"] == pytest.approx(1)
    assert found["imbalance"]["value"] == pytest.approx(1.05)
    assert found["gradient_jump"]["value"] == pytest.approx(0.3)
    assert found["gradient_jump"]["low"] < 0.1
    assert found["last_test_loss"]["value"] == pytest.approx(0.6)
    assert found["share_in_zone"]["value"] == 0.5, "with LayerNorm less without"


def test_a_wide_start_is_also_compared_with_the_usual_one_of_its_own_scaling():
    losses = {"scaled": 6.0, "scaled_by_d": 5.5, "scaled_by_d_wide_qk": 5.25}
    found = told(pd.concat(of_seeds(name, loss, 0.1) for name, loss in losses.items()))["conditions"]
    assert found["scaled_by_d_wide_qk"]["added_by_start"]["value"] == pytest.approx(-0.25)
    assert found["scaled_by_d_wide_qk"]["added_loss"]["value"] == pytest.approx(-0.75)
    assert "added_by_start" not in found["scaled_by_d"]


def test_a_run_that_diverged_counts_as_such_and_has_no_last_loss(all_told):
    found = all_told["conditions"]["untied"]
    assert found["diverged"] == 1
    assert found["last_test_loss"]["n"] == found["added_loss"]["n"] == found["cost_of_deletion"]["n"] == 2
    assert found["initial_attention_entropy"]["n"] == 3
    assert "last_test_loss" not in told(of_seeds("scaled", diverged=True))["conditions"]["scaled"]


def test_the_figure_of_sizes_shows_what_each_adds_to_the_condition_of_its_size_with_1_over_root_d():
    losses = {"scaled": 5.0, "brief": 6.0, "brief_by_d": 6.5, "width_64": 6.25, "width_64_by_d": 6.0}
    found = told(pd.concat(of_seeds(name, loss, 0.1) for name, loss in losses.items()))["conditions"]
    added = {name: of["added_loss"]["value"] for name, of in found.items()}
    assert added == pytest.approx({"scaled": 0, "brief": 0, "brief_by_d": 0.5, "width_64": 0, "width_64_by_d": -0.25})
    found["brief_by_d"]["attends"] = False
    with style.applied():
        panels = ablations.sizes(found, 7.0).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["width 64, d 32", "width 128, d 32"]
    places = {"brief": (0.84, "scaled"), "brief_by_d": (1.16, "scaled_by_d"), "width_64": (-0.16, "scaled"),
              "width_64_by_d": (0.16, "scaled_by_d")}  # fmt: skip
    for axes, quantity in zip(panels, ("initial_logit_std", "last_test_loss", "added_loss"), strict=True):
        shown = {
            (round(line.get_ydata()[0], 2), line.get_color()): line for line in axes.lines if line.get_marker() == "o"
        }
        expected = {
            (y, palette.SCALINGS[scaling]): found[name][quantity]["value"]
            for name, (y, scaling) in places.items()
            if quantity != "added_loss" or "by_d" in name
        }
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


@pytest.mark.slow  # `make verify` makes the summary again, too
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
    assert rebuilt.run("dvc", "status", "-q").returncode == 0
    assert rebuilt.run("dvc", "--cd", "ablations", "status", "-q").returncode == 1, "of other text"
