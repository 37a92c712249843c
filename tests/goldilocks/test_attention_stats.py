import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import entr, softmax
from test_model5 import stirred, windows

from goldilocks.model5 import attention_stats


def test_of_known_patterns():
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    uniform, sharp = (
        attention_stats.attention_statistics(logits.expand(2, 1, 6, 6).masked_fill(hidden, -torch.inf).numpy())
        for logits in (torch.zeros(6, 6), 100 * torch.eye(6))
    )
    later = range(3, 7)  # keys that the rows see which see half of them
    of_logits = dict.fromkeys(("logit_mean", "logit_std", "logit_skewness", "logit_excess_kurtosis"), 0)
    of_rows = ("normalised_entropy", "effective_share", "relative_gradient", "discrimination")
    expected = of_logits | dict.fromkeys(of_rows, 1)
    assert {name: uniform[name].item() for name in expected} == pytest.approx(expected, abs=1e-6)
    expected = {
        "normalised_entropy": 0, "share_holding_half": np.mean([1 / n for n in later]), "jacobian_norm": 0,
        "relative_gradient": 0, "discrimination": np.mean(later),
    }  # fmt: skip
    assert {name: sharp[name].item() for name in expected} == pytest.approx(expected, abs=1e-6)


def gradient_norm(p):
    """The mean norm of the gradient of -log p_t by the logits, p - e_t, t drawn from p: one t after another."""
    return sum(p_t * np.linalg.norm(p - one) for p_t, one in zip(p, np.eye(len(p)), strict=True))


@pytest.mark.parametrize("scale", [0.1, 4, 60])
def test_they_lose_no_digit_that_matters_and_do_not_depend_on_how_many_are_done_at_once(monkeypatch, scale):
    visible = np.tri(40, dtype=bool)
    logits = np.random.default_rng(0).normal(scale / 3, scale, (3, 5, 40, 40)).astype(np.float32)
    logits[:, :, ~visible] = -np.inf
    found = attention_stats.attention_statistics(logits)
    for head in range(5):
        exact = logits[:, head].astype(np.float64)
        p = softmax(exact[:, 1:], axis=-1)
        seen = np.arange(2, 41)
        entropy = entr(p).sum(-1)
        rows = [(window[t, : t + 1], t + 1) for window in softmax(exact, axis=-1) for t in range(19, 40)]
        half = [((np.sort(row)[::-1].cumsum() < 0.5).sum() + 1) / n for row, n in rows]
        shown = exact[:, visible]
        expected = {
            "normalised_entropy": (entropy / np.log(seen)).mean(),
            "largest_probability": p.max(-1).mean(),
            "effective_share": (np.exp(entropy) / seen)[:, 18:].mean(),
            "share_holding_half": np.mean(half),
            "share_negligible": np.mean([(row < 1e-6).mean() for row, _ in rows]),
            "jacobian_norm": np.mean([np.linalg.norm(np.diag(row) - np.outer(row, row)) for row, _ in rows]),
            "relative_gradient": np.mean([gradient_norm(row) / np.sqrt(1 - 1 / n) for row, n in rows]),
            "discrimination": np.mean([row.max() * n for row, n in rows]),
            "logit_mean": shown.mean(),
            "logit_std": shown.std(),
            "logit_skewness": stats.skew(shown, axis=None),
            "logit_excess_kurtosis": stats.kurtosis(shown, axis=None),
            "largest_logit": np.abs(shown).max(),
        }
        assert {name: of_heads[head] for name, of_heads in found.items()} == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for cached in (1, 40 * 40 * 4):
        monkeypatch.setattr(attention_stats, "CACHED", cached)
        again = attention_stats.attention_statistics(logits)
        assert all((again[name] == values).all() for name, values in found.items())


def test_cosines_are_those_computed_row_by_row():
    """The root mean square of each late row's cosines less their mean, and the mean cosine at the own position."""
    q, k = np.random.default_rng(0).normal(0.3, 1, (2, 2, 3, 12, 8))  # windows, heads, positions, width
    found = attention_stats.cosines(torch.from_numpy(q), torch.from_numpy(k))
    unit_q, unit_k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    for head in range(3):
        rows = [unit_k[w, head, : t + 1] @ unit_q[w, head, t] for w in range(2) for t in range(5, 12)]
        spread = np.sqrt(np.mean([row.var(ddof=1) for row in rows]))
        assert found["centred_cosine"][head] == pytest.approx(spread, rel=1e-6)
        assert found["own_cosine"][head] == pytest.approx(np.mean([row[-1] for row in rows]), rel=1e-6)


def test_the_cosines_of_independent_vectors_of_parallel_ones_and_of_such_as_share_a_direction():
    q, k = torch.randn(2, 4, 3, 50, 64, generator=torch.Generator().manual_seed(0))
    found = attention_stats.cosines(q, k)
    np.testing.assert_allclose(found["centred_cosine"], 1 / 8, rtol=0.03)
    np.testing.assert_allclose(found["own_cosine"], 0, atol=0.03)
    np.testing.assert_allclose(attention_stats.cosines(q, 2 * q)["own_cosine"], 1, rtol=1e-6)
    same = attention_stats.cosines(q, -k[:, :, :1].expand_as(k))
    np.testing.assert_allclose(same["centred_cosine"], 0, atol=1e-3)  # whatever the row's mean is
    shared = torch.zeros(64)
    shared[0] = 30.0
    biased = attention_stats.cosines(q + shared, k + shared)
    assert (biased["own_cosine"] > 0.8).all()
    assert (biased["centred_cosine"] < 0.05).all(), "what all keys share does not change softmax"


@pytest.mark.parametrize("scaling", attention_stats.SCALINGS)
def test_every_block_is_looked_at_in_the_scaling_named_and_the_model_left_alone(scaling):
    model, probes = stirred(), windows()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    own = model.blocks[0].attn.scale
    found = attention_stats.record_attention(model, 5, probes, scaling)
    rows = found["attention"]
    keys = [(row["step"], row["scaling"], row["block"], row["head"]) for row in rows]
    assert keys == [(5, scaling, b, h) for b in range(3) for h in range(4)]
    assert model.blocks[0].attn.scale == own == 8**-0.5
    for block in model.blocks:
        block.attn.scale = {"scaled": 8**-0.5, "unscaled": 1.0, "scaled_by_d": 1 / 8}[scaling]
    with torch.no_grad():
        x = model.embed(probes[:, :-1])
        for block in range(3):
            attn = model.blocks[block].attn
            logits = attn.logits(attn.project(model.blocks[block].ln_1(x)))
            largest = logits.masked_fill(logits.isinf(), 0).abs().amax((0, 2, 3))
            assert [row["largest_logit"] for row in rows[4 * block : 4 * block + 4]] == pytest.approx(largest.tolist())
            x = model.blocks[block](x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert bool(found["logit_histograms"]) == (scaling == "scaled")


def test_the_histogram_holds_every_visible_logit_in_its_heads_own_units():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1, (3, 2, 40, 40)).astype(np.float32) * np.float32([5, 0.1])[:, None, None] + 7
    logits[:, :, ~np.tri(40, dtype=bool)] = -np.inf
    found = attention_stats.attention_statistics(logits)
    rows = attention_stats.logit_histogram_rows(logits, found, 4, 1)
    assert sum(row["count"] for row in rows) == 3 * 2 * 820
    assert {(row["step"], row["block"]) for row in rows} == {(4, 1)}
    inside = {round(row["left"], 1): row["count"] for row in rows}
    share = sum(count for left, count in inside.items() if -1 <= left < 1) / (3 * 2 * 820)
    assert share == pytest.approx(0.683, abs=0.02)
