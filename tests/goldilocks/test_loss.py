"""The chunked loss against torch's own in float64."""

import pytest
import torch

from goldilocks.model5 import loss
from goldilocks.model5.loss import linear_cross_entropy

N, D, V = 40, 32, 300


def operands(dtype=torch.float32, spread=3.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator, dtype=dtype).requires_grad_()
    weight = (spread * torch.randn(V, D, generator=generator, dtype=dtype)).requires_grad_()
    return x, weight, torch.randint(0, V, (N,), generator=generator)


def reference(x, weight, targets, scale):
    """Loss and gradients by torch in float64."""
    x, weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    value = torch.nn.functional.cross_entropy(scale * x @ weight.T, targets)
    value.backward()
    return value.detach(), x.grad, weight.grad


@pytest.mark.parametrize("at_once", [2**26, 7 * V, 1])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_loss_and_gradients_are_torchs(monkeypatch, at_once, scale):
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", at_once)
    x, weight, targets = operands()
    value = linear_cross_entropy(x, weight, targets, scale)
    (2 * value).backward()
    with torch.no_grad():
        assert linear_cross_entropy(x, weight, targets, scale) == value
    expected, x_gradient, weight_gradient = reference(x, weight, targets, scale)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    for found, wanted in ((x.grad, 2 * x_gradient), (weight.grad, 2 * weight_gradient)):
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("at_once", [2**26, 7 * V])
@pytest.mark.usefixtures("native")
def test_under_autocast_products_are_in_bf16_and_sums_are_not(monkeypatch, at_once):
    monkeypatch.setattr(loss, "LOGITS_AT_ONCE", at_once)
    x, weight, targets = operands(spread=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        value = linear_cross_entropy(x, weight, targets)
    value.backward()
    expected, x_gradient, weight_gradient = reference(x.bfloat16(), weight.bfloat16(), targets, 1.0)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected.item(), rel=1e-3)
    for found, wanted in ((x.grad, x_gradient), (weight.grad, weight_gradient)):
        assert found.dtype == torch.float32
        assert (found - wanted).abs().max() < 0.02 * wanted.abs().max()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_large_logits_give_a_finite_loss_and_what_is_not_finite_stays_visible(bad):
    x, weight, targets = operands(spread=1e4)
    value = linear_cross_entropy(x, weight, targets)
    value.backward()
    assert value.item() == pytest.approx(reference(x, weight, targets, 1.0)[0].item(), rel=1e-5)
    assert value.item() > 1000
    assert x.grad.isfinite().all()
    with torch.no_grad():
        x[3, 4] = bad
    assert not linear_cross_entropy(x, weight, targets).isfinite()
