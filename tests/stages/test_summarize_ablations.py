import json
import math
from itertools import product
from types import SimpleNamespace

import pandas as pd
import pytest

from goldilocks.ablations import runs, summary
from goldilocks.ablations.conditions import CONDITIONS
from goldilocks.core import files, schemas, tables
from goldilocks.core.cli import UserError
from goldilocks.plotting import ablations, palette, style
from stages import summarize_ablations

SEEDS = (0, 1, 2)
RATES = dict.fromkeys(CONDITIONS, 1e-3) | {"scaled_wide_blocks": 3e-3, "no_layernorm": 3e-4, "untied": 3e-4}
MARGINS = SimpleNamespace(attends=0.3, gain=0.5)
ZONE = SimpleNamespace(least_gradient=0.5, least_discrimination=2.0)


def run(condition, seed, loss, entropy=0.9, residual=(1.0,) * 3, seen=(1.0,) * 2, gradients=(0.0,) * 2, jump=0.1,
        cost=0.4, unigram=7.5, zone=1, diverged=False):  # fmt: skip
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


def runs_of(condition, *losses, **changes):
    """A run of each seed, alike but for the loss; a single loss is that of all."""
    of_each = losses if len(losses) > 1 else losses * len(SEEDS)
    return pd.concat(run(condition, seed, loss, **changes) for seed, loss in zip(SEEDS, of_each, strict=True))


def summarised(*parts):
    return summary.summary(pd.concat(parts, ignore_index=True), RATES, [3e-4, 1e-3, 3e-3], MARGINS, ZONE)


@pytest.fixture(scope="module")
def metrics():
    parts = []
    for seed in SEEDS:
        more, e = 0.1 * seed, math.e
        parts += [
            run("scaled", seed, 6.0 + more, 0.9, [1.0, 2.0, e], [1.0, 1.0], [-1.0, -1.0], 0.3, zone=2),
            run("scaled_wide_blocks", seed, 7.0 + more, 0.4, [1.0, 2.0, 4.0], [1.0, 1.0], [-1.0, -2.0], 0.3),
            run("no_layernorm", seed, 6.5 + 2 * more, 1.0, [1.0, 2.0, e**2], [e**2, e], [-1.0, -3.0 - more],
                0.5 + more),
            run("untied", seed, 9.0, diverged=seed == 1),
        ]  # fmt: skip
    return summarised(*parts)


def test_quantities_of_a_condition(metrics):
    others = metrics["conditions"]
    scaled = others["scaled"]
    values = {name: of["value"] for name, of in scaled.items() if isinstance(of, dict) and "value" in of}
    assert values == pytest.approx({
        "initial_attention_entropy": 0.9, "final_attention_entropy": 0.45, "initial_largest_logit": 3,
        "initial_logit_std": 1, "final_logit_std": 11, "first_test_loss": 8, "last_test_loss": 6.1,
        "cost_of_deletion": 0.4, "gain_on_unigrams": 1.4, "widening": 0.5, "drift": 0, "residual_growth": math.e,
        "imbalance": 0, "gradient_jump": 0.3, "gradient_spread": 0.6, "initial_share_in_zone": 1,
        "final_share_in_zone": 1, "added_loss": 0,
    })  # fmt: skip
    assert (scaled["learning_rate"], scaled["broke_down"], scaled["attends"]) == (1e-3, 0, True)
    assert others["no_layernorm"]["drift"]["value"] == pytest.approx(1), "down counts as up does"
    zone = [others["scaled_wide_blocks"][f"{when}_share_in_zone"]["value"] for when in ("initial", "final")]
    assert zone == [1, 0.5], "a head lies in the zone by both of its thresholds"
    assert metrics["conditions_at_an_end_of_the_rates"] == 3


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
    found = summarised(runs_of("scaled", 6.0, 6.01, 6.02, **changes))["conditions"]["scaled"]
    assert found["attends"] is attends
    assert ("last_test_loss" in found) is ("diverged" not in changes)
    across = summarised(*(run("scaled", seed, 6.0, cost=0.31 + 0.4 * seed) for seed in SEEDS))["conditions"]["scaled"]
    assert across["cost_of_deletion"]["value"] > 0.3 > across["cost_of_deletion"]["low"]
    assert across["attends"] is False, "the whole interval must show it"


def test_differences_are_of_pairs_of_one_seed(metrics):
    wide = metrics["conditions"]["scaled_wide_blocks"]["added_loss"]
    assert (wide["value"], wide["low"], wide["high"], wide["n"]) == pytest.approx((1, 1, 1, 3)), "the seeds cancel"
    difference = metrics["without_layernorm"]
    assert difference["drift"]["value"] == pytest.approx(1)
    assert difference["imbalance"]["value"] == pytest.approx(1.05)
    assert difference["gradient_jump"]["value"] == pytest.approx(0.3)
    assert difference["gradient_jump"]["low"] < 0.1
    assert difference["last_test_loss"]["value"] == pytest.approx(0.6)
    assert difference["share_in_zone"]["value"] == 0.5, "with LayerNorm less without"
    assert difference["gradient_jump_of_others"] == {"lowest": 0.1, "highest": 0.1}, "of those with the same rate"
    assert "spike" not in difference, "nothing was looked at after a rise"
    untied = metrics["conditions"]["untied"]
    assert untied["broke_down"] == 3, "one diverged, two end above their start"
    assert untied["last_test_loss"]["n"] == untied["added_loss"]["n"] == untied["cost_of_deletion"]["n"] == 2
    assert untied["initial_attention_entropy"]["n"] == 3


def test_a_training_breaks_down_if_it_diverges_or_ends_above_its_start():
    sound = run("no_layernorm", 0, 7.5)
    for last in (run("no_layernorm", 2, 8.1), run("no_layernorm", 2, 0.0, diverged=True)):
        parts = (runs_of("scaled", 6.0), sound, run("no_layernorm", 1, 7.0), last)
        found = summarised(*parts)["without_layernorm"]
        assert (found["seeds"], found["broke_down"]) == (3, 1)
        assert found["last_test_loss_of_others"] == {"lowest": 7.0, "highest": 7.5}


def test_in_the_family_of_differences_an_interval_is_wider():
    """Of two differences; for n = 3 it is 6.205/4.303 times as wide."""
    others = (runs_of("scaled", 6.0), runs_of("scaled_wide_blocks", 7.0, 7.1, 7.2))
    for spread, survives in ((0.3, False), (0.06, True)):
        found = summarised(*others, runs_of("untied", 6.8 - spread, 6.8, 6.8 + spread))
        added = found["conditions"]["untied"]["added_loss"]
        assert added["low"] > 0
        assert added["survives_bonferroni"] is survives
        assert found["family"] == {"differences": 2, "survive_bonferroni": 1 + survives}
        assert "survives_bonferroni" not in found["conditions"]["scaled"]["added_loss"]


def test_a_wide_start_is_also_compared_with_the_usual_one_of_its_own_scaling():
    losses = {"scaled": 6.0, "scaled_by_d": 5.5, "scaled_by_d_wide_qk": 5.25}
    found = summarised(*(runs_of(name, loss) for name, loss in losses.items()))["conditions"]
    assert found["scaled_by_d_wide_qk"]["added_by_start"]["value"] == pytest.approx(-0.25)
    assert found["scaled_by_d_wide_qk"]["added_loss"]["value"] == pytest.approx(-0.75)
    assert "added_by_start" not in found["scaled_by_d"]


def test_sizes_are_compared_with_the_condition_of_their_size_and_drawn_so():
    losses = {"scaled": 5.0, "brief": 6.0, "brief_by_d": 6.5, "width_64": 6.25, "width_64_by_d": 6.0}
    metrics = summarised(*(runs_of(name, loss) for name, loss in losses.items()))
    assert metrics["by_d_over_sizes"] == {"sizes": 2, "exclude_0": 2, "lowest": -0.25, "highest": 0.5}
    found = metrics["conditions"]
    added = {name: of["added_loss"]["value"] for name, of in found.items()}
    assert added == pytest.approx({"scaled": 0, "brief": 0, "brief_by_d": 0.5, "width_64": 0, "width_64_by_d": -0.25})
    found["brief_by_d"]["attends"] = False
    with style.applied():
        panels = ablations.sizes(found).axes
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


def write_run(folder, condition, seed, width=8, rate=5e-4):
    columns = {"quantity": ["test_loss"], "step": [0], "block": [-1], "head": [-1], "value": [8.0]}
    made_by = {"ablate": {"width": width}, "run": {}, "condition": condition, "seed": seed, "learning_rate": rate}
    tables.write(folder / condition / f"seed-{seed}.parquet", "ablation", columns, made_by)


def write_control(folder, seed, steps):
    """Weights whose σ grows by a tenth times (seed + 1), and in block 0 of seed 3 by more, in two blocks."""
    names = [name for name in schemas.schema("weights").names if name not in ("step", "block", "part", "head")]
    rows = [
        {"step": step, "block": block, "part": part, "head": -1}
        | dict.fromkeys(names, 1.0) | {"q99": 2.0, "q75": 1.5, "q25": 0.5}
        | {"std": 0.02 * (1 + (step > 0) * (0.1 * (seed + 1) + 0.01 * (seed - 1) * (0.5 - block)))}
        for step in (0, 4) for block in (0, 1) for part in ("q", "k", "v", "qkv")
    ]  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    made_by = {"train": {"steps": steps}, "run": {}, "seed": seed}
    tables.write(folder / f"seed-{seed}.parquet", "weights", columns, made_by)


def test_runs_that_are_missing_or_of_other_parameters_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RUNS", tmp_path)
    settings = summarize_ablations.Settings(conditions=["scaled", "untied"], seeds=[0, 1])
    for condition, seed in (("scaled", 0), ("untied", 0), ("scaled", 1)):
        write_run(tmp_path, condition, seed)
    with pytest.raises(UserError, match=r"untied/seed-1.parquet: no such file \(1 of 4 runs\); run make ablations"):
        summarize_ablations.gather(settings)
    write_run(tmp_path, "untied", 1, width=9)
    with pytest.raises(UserError, match=r"other parameters than .*scaled/seed-0"):
        summarize_ablations.gather(settings)
    write_run(tmp_path, "untied", 1)
    frame, rates, made_with = summarize_ablations.gather(settings)
    assert list(zip(frame["condition"], frame["seed"], strict=True)) == list(product(("scaled", "untied"), (0, 1)))
    assert rates == {"scaled": 5e-4, "untied": 5e-4}
    assert made_with == {"ablate": {"width": 8}, "run": {}}


def test_the_control_by_seed_and_over_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CONTROL", tmp_path)
    write_control(tmp_path, 3, 5)
    write_control(tmp_path, 1, 6)
    with pytest.raises(UserError, match="other parameters than"):
        summarize_ablations.control([3, 1])
    write_control(tmp_path, 1, 5)
    found = summarize_ablations.control([3, 1])
    assert (found["growth_of_std"]["value"], found["growth_of_std"]["n"]) == (pytest.approx(0.3), 2)
    assert found["by_seed"]["growth_of_std"] == pytest.approx({"seed_1": 0.2, "seed_3": 0.4})
    assert found["share_of_seeds_where_block_0_grew_most"]["value"] == 0.5
    assert found["made_with"] == {"steps": 5, "tokens": files.read_metrics("tokens")}, "what is known of the text"


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
