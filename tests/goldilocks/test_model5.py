import copy
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

from goldilocks.core import arrays, rng
from goldilocks.core.cli import UserError
from goldilocks.model5 import export, initialisation, training
from goldilocks.model5.model import Model5, Shape, Variant

SHAPE = Shape(vocabulary=300, context_length=24, width=32, heads=4, blocks=3)
STD = 0.02


def fresh(shape=SHAPE, seed=0, **variant):
    model = Model5(shape, Variant(**variant))
    initialisation.initialise(model, STD, seed)
    return model


def stirred(seed=0, **variant):
    """A model away from its initial values, norms and biases included."""
    model = fresh(seed=seed, **variant)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def windows(n=3, t=SHAPE.context_length, seed=1):
    return torch.randint(0, SHAPE.vocabulary, (n, t + 1), generator=torch.Generator().manual_seed(seed))


def trainer(model, learning_rate=1e-3, weight_decay=0.01, **others):
    return training.Trainer(training.Objective(model), learning_rate, weight_decay, **others)


def exported(model, folder):
    """Export a model with a tokenizer that is none, and return the folder."""
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_text("{}", "utf-8")
    export.export(model, folder, folder / "model")
    return folder / "model"


def test_logits_loss_and_gradients_of_the_export_are_ours_in_transformers_gpt2(tmp_path):
    from transformers import AutoModelForCausalLM

    model, batch = stirred(), windows()
    folder = exported(model, tmp_path)
    tensors = arrays.read(folder / "model.safetensors")
    np.testing.assert_array_equal(tensors["transformer.h.1.ln_2.weight"], model.blocks[1].ln_2.weight.detach().numpy())
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    logits = loaded(batch[:, :-1]).logits
    with torch.no_grad():
        torch.testing.assert_close(logits, model(batch[:, :-1]), rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.1
    ours = model.loss(batch)
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    ours.backward()
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    their = {name: parameter.grad for name, parameter in loaded.named_parameters()}
    for i, block in enumerate(model.blocks):
        for name, gpt2 in export.RENAMED.items():
            of_block = block.get_submodule(name).weight.grad
            torch.testing.assert_close(of_block, their[f"transformer.h.{i}.{gpt2}.weight"].T, rtol=1e-3, atol=1e-6)
    # the tied gradient is the sum over the embedding's and the head's uses of one tensor
    tied = their["transformer.wte.weight"] + their["lm_head.weight"] / math.sqrt(32)
    torch.testing.assert_close(model.wte.weight.grad, tied, rtol=1e-3, atol=1e-6)


def test_weights_are_truly_tied_and_counted_once_unless_the_variant_unties_them():
    model, untied = fresh(), fresh(tied=False)
    assert model.shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert model.head.weight is model.wte.weight
    names = [name for name, _ in model.named_parameters()]
    assert "wte.weight" in names
    assert "head.weight" not in names
    assert sum(parameter is model.wte.weight for parameter in trainer(model).optimizer.parameters) == 1
    assert untied.head.weight is not untied.wte.weight
    assert untied.wte.weight.std().item() == pytest.approx(math.sqrt(2 / (300 + 32)), rel=0.05), "Xavier's, for once"
    x = torch.randn(2, 3, 32)
    torch.testing.assert_close(fresh(head_scaled=False).logits(x), model.logits(x) * math.sqrt(32))


def test_without_attention_the_rest_learns_and_attention_does_not():
    model, batch = stirred(attention=False), windows()
    model.loss(batch).backward()
    for name, parameter in model.named_parameters():
        assert bool(parameter.grad.abs().max() > 0) is (".attn." not in name and ".ln_1." not in name), name
    with torch.no_grad():
        usual = model(batch[:, :-1])
        with model.attention_exponent(None):
            assert torch.equal(model(batch[:, :-1]), usual), "deleting it changes nothing"


def test_deleting_attention_is_making_what_it_adds_zero_and_ends():
    model, batch = stirred(), windows()
    without = copy.deepcopy(model)
    with torch.no_grad():
        usual = model(batch[:, :-1])
        for block in without.blocks:
            block.attn.output.weight.zero_()
            block.attn.output.bias.zero_()
        with model.attention_exponent(None):
            assert torch.equal(model(batch[:, :-1]), without(batch[:, :-1]))
            assert torch.equal(model.loss(batch), without.loss(batch))
        assert torch.equal(model(batch[:, :-1]), usual)
        assert not torch.allclose(usual, without(batch[:, :-1]), atol=0.01)


def layernorm(x, of):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * of.weight + of.bias


def rmsnorm(x, of):
    return x / ((x**2).mean(-1, keepdim=True) + 1e-5).sqrt() * of.weight


def block_by_hand(block, x, norm, post_norm=False, qk_norm=False, exponent=0.5):
    """A block's output in plain arithmetic."""
    d = SHAPE.width // SHAPE.heads

    def attended(y):
        q, k, v = (y @ block.attn.qkv.weight.T + block.attn.qkv.bias).split(SHAPE.width, -1)
        hidden = torch.ones(y.shape[1], y.shape[1]).triu(1).bool()
        heads = []
        for h in range(SHAPE.heads):
            own = slice(h * d, (h + 1) * d)
            q_h, k_h = q[..., own], k[..., own]
            if qk_norm:
                q_h, k_h = norm(q_h, block.attn.norms[0]), norm(k_h, block.attn.norms[1])
            p = (q_h @ k_h.mT / d**exponent).masked_fill(hidden, -math.inf).softmax(-1)
            heads.append(p @ v[..., own])
        return torch.cat(heads, -1) @ block.attn.output.weight.T + block.attn.output.bias

    def mlp(y):
        inner = torch.nn.functional.gelu(y @ block.mlp.up.weight.T + block.mlp.up.bias)
        return inner @ block.mlp.down.weight.T + block.mlp.down.bias

    if post_norm:
        x = norm(x + attended(x), block.ln_1)
        return norm(x + mlp(x), block.ln_2)
    x = x + attended(norm(x, block.ln_1))
    return x + mlp(norm(x, block.ln_2))


@pytest.mark.parametrize(
    ("variant", "norm"),
    [
        ({}, layernorm),
        ({"norm": "rmsnorm"}, rmsnorm),
        ({"norm": None}, lambda x, _: x),
        ({"attention_exponent": 0.0}, layernorm),
        ({"attention_exponent": 1.0}, layernorm),
        ({"post_norm": True}, layernorm),
        ({"qk_norm": True}, layernorm),
        ({"qk_norm": True, "norm": "rmsnorm", "post_norm": True}, rmsnorm),
    ],
    ids=["layernorm", "rmsnorm", "none", "unscaled", "by d", "post", "qk", "all"],
)
def test_norms_and_scalings_of_every_kind_and_place_are_those_computed_by_hand(variant, norm):
    model, tokens = stirred(**variant), windows()[:, :-1]
    post_norm, exponent = variant.get("post_norm", False), variant.get("attention_exponent", 0.5)
    with torch.no_grad():
        x = model.embed(tokens)
        for block in model.blocks:
            x = block_by_hand(block, x, norm, post_norm, variant.get("qk_norm", False), exponent)
        torch.testing.assert_close(model.states(tokens), x if post_norm else norm(x, model.ln_f), rtol=1e-3, atol=1e-4)


QK = slice(0, 2 * SHAPE.width)


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ("blocks", {f"blocks.{i}.{name}.weight": ... for i in range(3)
                    for name in ("attn.qkv", "attn.output", "mlp.up", "mlp.down")}),
        ("qk", {f"blocks.{i}.attn.qkv.weight": QK for i in range(3)}),
        ("embedding", {"wte.weight": ...}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tied", [True, False])
def test_a_factor_multiplies_the_weights_of_its_part_and_nothing_else(part, where, tied):
    usual, wider = fresh(tied=tied), Model5(SHAPE, Variant(tied=tied))
    initialisation.initialise(wider, STD, 0, {part: 10.0})
    with torch.no_grad():
        for name, weight in usual.named_parameters():
            if name in where:
                weight[where[name]] *= 10
    assert {name for name, _ in usual.named_parameters()} >= where.keys()
    for (name, expected), found in zip(usual.named_parameters(), wider.parameters(), strict=True):
        assert torch.equal(found, expected), name


def test_initialisation_keeps_its_promises():
    shape = Shape(2000, 64, 96, 4, 2)
    model = fresh(shape)
    checks = list(initialisation.checks(model, STD, 0))
    assert {check.claim for check in checks} == {"W1", "W2", "W3", "W4", "W4_untied"}
    assert checks[-1].expected == math.sqrt(2 / (2000 + 96)), "Xavier's, where no head overwrites it"
    for check in checks:
        assert abs(check.measured - check.expected) <= check.tolerance, check
    assert model.wpe.weight.std().item() == pytest.approx(math.sqrt(2 / (64 + 96)), rel=0.03)
    assert abs(kurtosis(model.wpe.weight.detach().numpy(), axis=None)) < 0.3, "normal, not uniform"
    xavier_of_tokens = math.sqrt(2 / (2000 + 96))
    assert abs(model.wte.weight.std().item() - xavier_of_tokens) > 0.005, "the tied head overwrites Xavier's values"
    assert model.blocks[0].ln_1.weight.min().item() == 1
    assert model.loss(windows()).item() == pytest.approx(math.log(2000), abs=0.05)


def test_a_wrong_initialisation_is_noticed():
    model = fresh(Shape(2000, 64, 96, 4, 2))
    with torch.no_grad():
        model.blocks[1].mlp.up.weight.mul_(1.1)
        model.blocks[0].attn.output.bias[3] = 1e-3
    off = [c.quantity for c in initialisation.checks(model, STD, 0) if abs(c.measured - c.expected) > c.tolerance]
    assert off == ["largest |bias| of all Linear layers", "std of blocks.1.mlp.up.weight"]


def test_samples_start_with_the_prompt_and_seeds_give_other_samples_and_weights():
    assert torch.equal(fresh(seed=1).wte.weight, fresh(seed=1).wte.weight)
    assert not torch.equal(fresh(seed=1).wte.weight, fresh(seed=2).wte.weight)
    model, prompt = stirred(), [5, 6, 7]
    one, again, other = (training.sample(model, prompt, 40, rng.generator(seed, "x")) for seed in (3, 3, 4))
    assert one[:3] == prompt
    assert len(one) == 43
    assert one == again != other


def test_batches_are_a_pure_function_of_their_stream_and_reach_every_token():
    tokens = np.arange(500, dtype=np.uint16)
    first, again, *others = (
        training.batches(tokens, 4, 24, root_seed, seed)(step)
        for root_seed, seed, step in ((1, 0, 7), (1, 0, 7), (1, 0, 8), (1, 1, 7), (2, 0, 7))
    )
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in others)
    assert first.shape == (4, 25)
    assert torch.equal(first[:, 1:] - first[:, :-1], torch.ones(4, 24, dtype=torch.int64))
    stream = rng.generator(0, "x")
    starts = {int(row[0]) for _ in range(50) for row in training.batch(np.arange(30), 8, 24, stream)}
    assert starts == set(range(6))


def test_a_model_that_diverged_at_the_last_update_is_told():
    model = fresh()
    with torch.no_grad():
        model.wte.weight[3, 4] = torch.nan
    with pytest.raises(UserError, match=r"logits are not finite; training diverged: lower train\.learning_rate"):
        training.sample(model, [3], 2, rng.generator(0, "x"))


def test_mean_loss_does_not_depend_on_how_windows_are_grouped():
    objective, batch = training.Objective(stirred()), windows(7)
    assert training.mean_loss(objective, batch, 3) == pytest.approx(training.mean_loss(objective, batch, 7), rel=1e-6)
