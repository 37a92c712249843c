import math
from pathlib import Path

import numpy as np
import pytest
import torch
from last_commit import params_text
from ruamel.yaml import YAML
from test_model5 import fresh, windows

from goldilocks.ablations import runs
from goldilocks.ablations.condition import Condition
from goldilocks.ablations.conditions import ARTICLES, BASE, BASES, CONDITIONS, GRID, MAIN, OF_SIZES
from goldilocks.ablations.recorder import Watch, rms
from goldilocks.config import train as train_config
from goldilocks.core import arrays, files
from goldilocks.core.cli import UserError
from goldilocks.model5 import training, weight_stats
from goldilocks.model5.attention_stats import attention_statistics
from goldilocks.model5.model import Variant
from stages import ablate, control, rate

SETTINGS = ablate.Settings(
    width=16, heads=2, blocks=3, batch_size=2, steps=5, rates=[1e-2, 1e-3], rates_seed=9, weight_decay=0.01,
    linear_std=0.02, look_every=4, evaluation_windows=3, probe_windows=2,
)  # fmt: skip
RUN = ablate.Run(root_seed=5)
RATE = 1e-2
IDS = np.random.default_rng(0).zipf(1.5, 1000) % 50
TOKENS = runs.Tokens(IDS[:700], IDS[700:], vocabulary=50, context_length=12)
VARIANTS = {
    "": {"attention_exponent": 0.5},
    "_unscaled": {"attention_exponent": 0.0},
    "_by_d": {"attention_exponent": 1.0},
    "_no_attention": {"attention": False},
}


def rows_of(condition, seed=0, learning_rate=RATE, **changes):
    settings = SETTINGS.model_copy(update=changes)
    rows = ablate.train_one(settings, RUN, CONDITIONS[condition], learning_rate, seed, TOKENS, condition)
    assert all(math.isfinite(row["value"]) for row in rows)
    return rows


def train(condition, seed=0, **changes):
    """Values by quantity, step and block; those of heads left out."""
    rows = rows_of(condition, seed, **changes)
    return {(r["quantity"], r["step"], r["block"]): r["value"] for r in rows if r["head"] == weight_stats.ALL_HEADS}


@pytest.mark.parametrize("condition", MAIN)
def test_every_condition_trains(condition):
    rows = rows_of(condition)
    assert {row["step"] for row in rows} == {0, 1, 2, 4}
    whole, of_heads = ({r["quantity"] for r in rows if (r["head"] >= 0) is heads} for heads in (False, True))
    assert whole == {
        "test_loss", "test_loss_without_attention", "unigram_loss", "bigram_loss", "train_loss", "std", "residual_rms",
        "input_rms", "attention_entropy", "largest_logit", "gradient_norm", "gradient_log_mean",
        "gradient_log_spread", "gradient_log_jump",
    }  # fmt: skip
    assert of_heads == {"logit_std", "relative_gradient", "discrimination"}
    assert {row["block"] for row in rows if row["quantity"] == "residual_rms"} == {0, 1, 2, 3}
    keys = {(r["step"], r["block"], r["head"]) for r in rows if r["quantity"] == "discrimination"}
    assert keys == {(step, block, head) for step in (0, 4) for block in range(3) for head in (0, 1)}


def test_conditions_differ_in_what_they_say_and_share_the_rest():
    names = ("scaled", "unscaled", "scaled_wide_blocks", "scaled_wide_qk", "wide_embedding", "no_layernorm")
    found = {name: train(name) for name in names}
    assert found["scaled"] == train("scaled") != train("scaled", seed=1), "a run repeats"
    start = {name: run["std", 0, 1] for name, run in found.items()}
    assert start["scaled"] == start["unscaled"] == start["no_layernorm"] == start["wide_embedding"]
    assert start["scaled_wide_blocks"] == pytest.approx(10 * start["scaled"], rel=1e-6), "the same random numbers"
    assert start["scaled"] < start["scaled_wide_qk"] < start["scaled_wide_blocks"]
    entering = {name: run["residual_rms", 0, 0] for name, run in found.items()}
    assert entering["scaled"] == entering["scaled_wide_blocks"] < entering["wide_embedding"]
    logit = {name: run["largest_logit", 0, 0] for name, run in found.items()}
    assert logit["unscaled"] == pytest.approx(math.sqrt(8) * logit["scaled"], rel=1e-5)
    assert logit["scaled_wide_qk"] == pytest.approx(100 * logit["scaled"], rel=1e-5)
    assert found["no_layernorm"]["input_rms", 0, 1] == found["no_layernorm"]["residual_rms", 0, 1]
    assert found["scaled"]["input_rms", 0, 1] == pytest.approx(1, abs=0.01)
    counts = {(run["unigram_loss", 0, -1], run["bigram_loss", 0, -1]) for run in found.values()}
    assert len(counts) == 1, "on the same windows"


def test_a_run_that_diverges_is_told_and_keeps_what_it_noted():
    # which multiplies weights by -99
    found = train("scaled_wide_blocks", learning_rate=10.0, weight_decay=10.0, steps=60)
    ((_, step, block),) = [key for key in found if key[0] == "diverged"]
    assert (0 < step < 60, block) == (True, -1)
    assert ("test_loss", 0, -1) in found
    assert max(step for _, step, _ in found) == step


def test_the_watch_notes_gradients_of_whole_blocks_and_the_spread_of_their_logarithms():
    found = fresh()
    watch = Watch(training.Objective(found), windows(), 2, 2, [0, 2], {})
    watch.before(1)
    assert watch.rows == [], "it looks at the steps it was given, and no other"
    norms = []
    for step in range(3):
        found.zero_grad()
        (found.loss(windows(seed=step)) * 10.0**step).backward()
        watch.after(step)
        gradients = ([p.grad.double().flatten() for p in block.parameters()] for block in found.blocks)
        norms.append([torch.cat(of_block).norm().item() for of_block in gradients])
    noted = {(row["step"], row["block"]): row["value"] for row in watch.rows}
    assert set(noted) == {(step, block) for step in (0, 2) for block in range(3)}
    assert noted[2, 1] == pytest.approx(norms[2][1], rel=1e-5)
    watch.rows.clear()
    watch.summarise_gradients()
    logs = np.log(norms)
    summary = {(row["quantity"], row["block"]): row["value"] for row in watch.rows}
    assert summary["gradient_log_mean", 2] == pytest.approx(logs[:, 2].mean(), rel=1e-5)
    assert summary["gradient_log_spread", 0] == pytest.approx(logs[:, 0].std(ddof=1), rel=1e-5)
    assert summary["gradient_log_jump", 0] == pytest.approx(np.diff(logs[:, 0]).std(ddof=1), abs=1e-5)
    assert rms(torch.tensor([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))


def test_the_watch_sees_the_model_without_attention_and_each_head_at_both_ends():
    found, test = fresh(attention_exponent=0.0), windows(4)
    watch = Watch(training.Objective(found), test, 2, 3, [0, 1, 2], {"unigram": 5.0})
    for step in (0, 1, 2):
        watch.before(step)
    values = {(r["quantity"], r["step"], r["block"], r["head"]): r["value"] for r in watch.rows}
    assert values["unigram_loss", 0, -1, -1] == 5
    with torch.no_grad(), found.attention_exponent(None):
        assert values["test_loss_without_attention", 1, -1, -1] == pytest.approx(found.loss(test).item(), rel=1e-6)
    assert values["test_loss", 1, -1, -1] == pytest.approx(found.loss(test).item(), rel=1e-6)
    with torch.no_grad():
        first = found.blocks[0]
        seen = first.ln_1(found.embed(test[:2, :-1]))
        of_heads = attention_statistics(first.attn.logits(first.attn.project(seen)).numpy())
    for quantity in ("logit_std", "relative_gradient", "discrimination"):
        assert [values[quantity, 2, 0, head] for head in range(4)] == of_heads[quantity].tolist()
        assert (quantity, 1, 0, 0) not in values
    assert values["input_rms", 0, 0, -1] == pytest.approx(rms(seen))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({1e-2: 6.0, 1e-3: 5.0, 0.5: 0.1}, 1e-3),  # 0.5 is not in ablate.rates
        ({1e-2: 5.0, 1e-3: 6.0}, 1e-2),
        ({1e-2: 7.0, 1e-3: None}, 1e-2),
        ({1e-2: 5.0}, r"scaled/0.001.json: no such file; run python -m stages.rate scaled 0.001$"),
        ({1e-2: None, 1e-3: None}, r"scaled: diverged with every rate; give ablate.rates lower ones$"),
    ],
)
def test_the_rate_is_that_which_ended_lowest_and_none_is_chosen_where_one_is_missing(tmp_path, losses, expected):
    folder = tmp_path / "scaled"
    for learning_rate, loss in losses.items():
        files.write_json(folder / f"{learning_rate}.json", {"learning_rate": learning_rate, "loss": loss})
    if isinstance(expected, float):
        assert ablate.best_rate(SETTINGS, folder) == expected
    else:
        with pytest.raises(UserError, match=expected):
            ablate.best_rate(SETTINGS, folder)


def test_what_chooses_a_rate_is_another_seed_and_another_half_of_the_test_text():
    numbered = TOKENS._replace(test=np.arange(301))
    chosen, judged = numbered.for_rates(), numbered.for_results()
    halves = [set(part.windows(5, 4000).flatten().tolist()) for part in (chosen, judged)]
    assert halves == [set(range(150, 301)), set(range(150))]
    tokens = TOKENS.for_rates()
    loss = rate.last_loss(SETTINGS, RUN, CONDITIONS["unscaled"], RATE, tokens, "")
    again = runs.untrained(SETTINGS, CONDITIONS["unscaled"], 5, SETTINGS.rates_seed, tokens)
    objective, trainer = runs.trainer(again, RATE, SETTINGS)
    list(training.train(trainer, tokens.batches(5, SETTINGS.rates_seed, 2), 0, 5))
    assert loss == training.mean_loss(objective, tokens.windows(5, 3), 2)
    wild = SETTINGS.model_copy(update={"weight_decay": 10.0, "steps": 60})
    assert rate.last_loss(wild, RUN, CONDITIONS["unscaled"], 10.0, tokens, "") == math.inf


def control_settings(**changes):
    section = YAML(typ="safe").load(params_text())["train"]
    small = {"width": 16, "heads": 2, "blocks": 2, "batch_size": 2, "steps": 5, "snapshot_every": 2}
    return train_config.Settings(**section | small | changes)


def test_the_control_is_the_articles_training_with_its_tokens_in_another_order(monkeypatch):
    read, batches = [], runs.Tokens.batches
    monkeypatch.setattr(runs.Tokens, "batches", lambda own, *rest: read.append(own.train) or batches(own, *rest))
    first, second = (control.train_one(control_settings(), RUN, seed, TOKENS, "") for seed in (0, 1))
    for shuffled in read:
        assert np.array_equal(np.sort(shuffled), np.sort(TOKENS.train))
        assert not np.array_equal(shuffled, TOKENS.train)
    assert not np.array_equal(*read), "every seed has an order of its own"
    assert {(row["step"], row["block"], row["part"], row["head"]) for row in first} == {
        (step, block, part, -1) for step in (0, 4) for block in (0, 1) for part in ("q", "k", "v", "qkv")
    }
    assert first != second
    start = runs.untrained(control_settings(), CONDITIONS[ARTICLES], 5, 0, TOKENS)
    assert first[0]["std"] == pytest.approx(float(start.blocks[0].attn.qkv.weight[:16].std(correction=0)), rel=1e-6)
    assert control.train_one(control_settings(learning_rate=1e-2), RUN, 0, TOKENS, "")[-1] != first[-1]


def test_a_condition_is_read_as_it_was_written_and_its_settings_change_those_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Condition("longer", {"tied": False}, {"qk": 2.0}, {"steps": 9, "context_length": 7})
    assert own.changed(SETTINGS) == SETTINGS.model_copy(update={"steps": 9})
    for name, condition in {"longer": own, **CONDITIONS}.items():
        condition.write(name)
        assert Condition.read(name) == condition
    with pytest.raises(UserError, match=r"shorter.json: no such file, so no such condition; there are: articles"):
        Condition.read("shorter")
    for settings, message in (
        ({"heads": 3}, "heads = 3: must divide width = 16"),
        ({"stpes": 3}, "stpes = 3: unknown key; did you mean 'steps'?"),
    ):
        with pytest.raises(UserError) as raised:
            Condition("longer", settings=settings).changed(SETTINGS)
        assert raised.value.problems == (f"longer: params.yaml: ablate.{message}",)


def test_a_condition_of_another_size_or_text_reads_its_own_settings_and_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = ablate.Settings(**YAML(typ="safe").load(params_text())["ablate"])
    for text, vocabulary in (("tokens", 50), ("second_text", 60)):
        folder = Path("data") / text
        arrays.write(folder / "tokens.safetensors", {"train": np.full(9, vocabulary), "test": np.arange(4)})
        files.write_json(folder / "description.json", {"vocabulary": vocabulary, "context_length": 128})
    for size, group in OF_SIZES.items():
        for name, condition in group.items():
            own, tokens = condition.changed(shared), runs.Tokens.of(condition)
            assert condition.variant == {"head_scaled": False} | VARIANTS[name.removeprefix(size)]
            label = condition.label if "width" in condition.label else "width 128, d 32"
            assert f"width {own.width}, d {own.width // own.heads}" in label
            kept = math.sqrt(128 / own.width) if size.endswith("_kept") else 1
            assert (own.blocks, own.steps, own.linear_std) == (1, 501, pytest.approx(0.02 * kept))
            assert tokens.context_length == (256 if size == "context_256" else 128)
            assert tokens.vocabulary == tokens.train[0] == (60 if size == "second_text" else 50)


def test_each_condition_differs_from_all_others_and_is_compared_with_that_of_its_size_and_text_with_1_over_root_d():
    assert CONDITIONS.keys() == BASES.keys() == MAIN.keys() | {name for of in OF_SIZES.values() for name in of}
    assert {BASES[name] for name in MAIN} == {BASE, ARTICLES}
    for name, base in BASES.items():
        assert Variant(**CONDITIONS[base].variant).attention_exponent == 0.5
        assert CONDITIONS[name].settings == CONDITIONS[base].settings
    compared = YAML(typ="safe").load(params_text())["ablations"]["conditions"]
    assert {BASES[name] for name in compared} <= set(compared)
    assert (Variant(**CONDITIONS[ARTICLES].variant), CONDITIONS[ARTICLES].start, len(GRID)) == (Variant(), {}, 9)
    for told in (lambda c: (str(Variant(**c.variant)), str(dict(c.start)), str(dict(c.settings))), lambda c: c.label):
        assert len({told(condition) for condition in CONDITIONS.values()}) == len(CONDITIONS)
