import math

import numpy as np
import pytest
import torch
from closure import ROOT, closure
from ruamel.yaml import YAML
from test_model5 import SHAPE, windows

from stages import ablate
from stages.ablation import code
from stages.ablation.conditions import ARTICLES, CONDITIONS, GRID
from stages.ablation.watch import Watch, rms
from stages.common import files
from stages.model5 import initialisation, training
from stages.model5.model import Model5, Variant

SETTINGS = ablate.Settings(
    width=16, heads=2, blocks=3, batch_size=2, steps=5, learning_rate=1e-2, weight_decay=0.01, look_every=4,
    evaluation_windows=3, probe_windows=2,
)  # fmt: skip
RUN = ablate.Run(root_seed=5)
IDS = np.random.default_rng(0).zipf(1.5, 900) % 50
TOKENS = ablate.Tokens(IDS[:700], IDS[700:], vocabulary=50, context_length=12)
STAGES = YAML(typ="safe").load((ROOT / "ablations" / "dvc.yaml").read_text("utf-8"))["stages"]
STAGE, CODE = STAGES["ablate"], STAGES["code"]


def train(condition, seed=0, **changes):
    settings = SETTINGS.model_copy(update=changes)
    rows = ablate.train_one(settings, RUN, CONDITIONS[condition], seed, TOKENS, condition)
    assert all(math.isfinite(row["value"]) for row in rows)
    return {(row["quantity"], row["step"], row["block"]): row["value"] for row in rows}


def model(seed=0, **variant):
    found = Model5(SHAPE, Variant(**variant))
    initialisation.initialise(found, 0.02, seed)
    return found


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_trains(condition):
    found = train(condition)
    assert {step for _, step, _ in found} == {0, 1, 2, 4}
    assert {q for q, _, _ in found} == {
        "test_loss", "train_loss", "std", "residual_rms", "input_rms", "attention_entropy", "largest_logit",
        "gradient_norm", "gradient_log_mean", "gradient_log_spread", "gradient_log_jump",
    }  # fmt: skip
    assert {block for q, _, block in found if q == "residual_rms"} == {0, 1, 2, 3}


def test_a_run_repeats_and_another_seed_is_another_run():
    assert train("scaled") == train("scaled") != train("scaled", seed=1)


def test_conditions_differ_in_what_they_say_and_share_the_rest():
    runs = {name: train(name) for name in ("scaled", "unscaled", "scaled_wide", "no_layernorm")}
    start = {name: run["std", 0, 1] for name, run in runs.items()}
    assert start["scaled"] == start["unscaled"] == start["no_layernorm"]
    assert start["scaled_wide"] == pytest.approx(10 * start["scaled"], rel=1e-6), "the same random numbers"
    logit = {name: run["largest_logit", 0, 0] for name, run in runs.items()}
    assert logit["unscaled"] == pytest.approx(math.sqrt(8) * logit["scaled"], rel=1e-5)
    assert runs["no_layernorm"]["input_rms", 0, 1] == runs["no_layernorm"]["residual_rms", 0, 1]
    assert runs["scaled"]["input_rms", 0, 1] == pytest.approx(1, abs=0.01)


def test_a_run_that_diverges_is_told_and_keeps_what_it_noted():
    found = train("scaled_wide", learning_rate=10.0, weight_decay=10.0, steps=60)  # which multiplies weights by -99
    ((_, step, block),) = [key for key in found if key[0] == "diverged"]
    assert (0 < step < 60, block) == (True, -1)
    assert ("test_loss", 0, -1) in found
    assert max(step for _, step, _ in found) == step


def test_the_variants_are_what_they_are_called():
    scaled, unscaled, by_d = (model(attention_exponent=e).blocks[0].attn.scale for e in (0.5, 0.0, 1.0))
    assert (scaled, unscaled, by_d) == (8**-0.5, 1.0, 1 / 8)
    tied, untied = model(), model(tied=False)
    assert tied.head.weight is tied.wte.weight
    assert untied.head.weight is not untied.wte.weight
    assert untied.wte.weight.std().item() == pytest.approx(math.sqrt(2 / (300 + 32)), rel=0.05), "Xavier's, for once"
    x = torch.randn(2, 3, 32)
    torch.testing.assert_close(model(head_scaled=False).logits(x), model().logits(x) * math.sqrt(32))
    assert not [name for name, _ in model(layernorm=False).named_parameters() if "ln_" in name]


def test_attention_uses_its_scale_when_it_computes_and_when_it_is_looked_at():
    found = model(attention_exponent=0.0)
    attn, x = found.blocks[0].attn, torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, _, v = attn.split(x)
        by_hand = attn.output((attn.logits(x).softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
        torch.testing.assert_close(attn(x), by_hand)
        usual = attn.logits(x)
        with found.attending(1.0):
            torch.testing.assert_close(attn.logits(x)[:, :, 5, :5], usual[:, :, 5, :5] / 8)
        torch.testing.assert_close(attn.logits(x), usual)


def test_xavier_reaches_every_linear_weight():
    found = Model5(SHAPE)
    initialisation.initialise(found, None, 0)
    assert found.blocks[0].mlp.up.weight.std().item() == pytest.approx(math.sqrt(2 / (32 + 128)), rel=0.05)
    assert found.blocks[0].attn.qkv.weight.std().item() == pytest.approx(math.sqrt(2 / (32 + 96)), rel=0.05)


def test_the_watch_notes_gradients_of_whole_blocks_and_the_spread_of_their_logarithms():
    found = model()
    watch = Watch(training.Objective(found), windows(), 2, 2, {0, 2})
    watch.before(1)
    assert watch.rows == []
    norms = []
    for step in range(3):
        found.zero_grad()
        (found.loss(windows(seed=step)) * 10.0**step).backward()
        watch.after(step)
        norms.append([
            math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in block.parameters())) for block in found.blocks
        ])  # fmt: skip
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


def test_the_stage_declares_what_it_depends_on_and_seeds_are_not_among_it(committed):
    assert {name for name in CODE["deps"] if name.startswith("stages")} == closure("stages.ablate")
    assert "requirements.lock" in CODE["deps"]
    assert CODE["outs"] == [{str(code.OUTPUT): {"cache": False}}]
    noted = files.read_json(committed / code.OUTPUT)
    assert noted == {path: files.sha256(committed / path) for path in noted}, "the committed code"
    assert sorted(STAGE["params"]) == ["ablate", "run.root_seed"]
    assert STAGE["deps"] == [str(code.OUTPUT), "data/checked", "data/tokens"]
    assert STAGE["outs"] == [{f"{ablate.OUTPUT}/${{item.condition}}/seed-${{item.seed}}.parquet": {"cache": False}}]


def test_the_articles_model_is_among_the_conditions_with_nothing_taken_back():
    assert Variant(**CONDITIONS[ARTICLES].variant) == Variant()
    assert CONDITIONS[ARTICLES].linear_std == 0.02
    assert len(GRID) == 9
    assert len({(str(c.variant), c.linear_std) for c in CONDITIONS.values()}) == len(CONDITIONS)
