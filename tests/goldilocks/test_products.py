"""Model 5's products by OpenBLAS: the values and gradients of torch's own, and what makes their bits the same."""

import pytest
import torch
import torch.nn.functional as F

from goldilocks.model5 import products


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def gradients(y, *inputs):
    weights = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    return torch.autograd.grad((y * weights).sum(), inputs)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (1, 1, 5)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_linear_layer_is_torchs_in_native_arithmetic_to_the_bit(request, shape, with_bias):
    x, weight = drawn(*shape), drawn(4, 5, seed=1)
    bias = drawn(4, seed=2) if with_bias else None
    inputs = [t for t in (x, weight, bias) if t is not None]
    found, expected = products.linear(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(found, *inputs), gradients(expected, *inputs), rtol=1e-5, atol=1e-5)
    request.getfixturevalue("native")
    assert products.linear(x, weight, bias).equal(expected)
    assert products.multiply(x, weight.T).equal(x @ weight.T)


def test_attention_is_torchs():
    batch, length, heads, d = 3, 6, 2, 4
    qkv = drawn(batch, length, 3 * heads * d)
    q, k, v = products.split_heads(qkv, heads)
    assert q.shape == (batch, heads, length, d)
    torch.testing.assert_close(k[1, 1], qkv[1, :, heads * d + d : heads * d + 2 * d])
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7).transpose(1, 2).flatten(2)
    found = products.causal_attention(qkv, heads, 0.7)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(found, qkv), gradients(expected, qkv), rtol=1e-4, atol=1e-6)


def test_products_are_numpys_to_the_bit():
    """So they are those of the OpenBLAS that `arithmetic` pins, not MKL's."""
    x, weight = drawn(300, 200), drawn(100, 200, seed=1)
    expected = x.detach().numpy() @ weight.detach().numpy().T
    assert (products.linear(x, weight).detach().numpy() == expected).all()
    out = torch.empty(300, 100)
    assert products.multiply(x, weight.T, out=out) is out
    assert (out.numpy() == expected).all()
