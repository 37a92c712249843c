"""The matrix products of Model 5: with the same bits on any x86-64 processor, or by torch.

torch uses MKL, whose last digits depend on the processor and its vendor, unless in a mode that takes three times as
long. So in portable arithmetic NumPy's OpenBLAS, pinned by `arithmetic.py`, works on the tensors' own memory. In native
arithmetic, on a GPU, and in bfloat16, torch computes them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from goldilocks.core import arithmetic

PORTABLE = not arithmetic.is_native()


def multiply(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b without gradient, into `out` if it is given: (…, M, K) and (…, K, N), with equal …, to (…, M, N).

    Only for portable arithmetic in float32 on the CPU.
    """
    if not PORTABLE:
        return torch.matmul(a, b, out=out)
    if out is None:
        out = torch.empty(*a.shape[:-1], b.shape[-1])
    np.matmul(a.detach().numpy(), b.detach().numpy(), out=out.numpy())
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = multiply(x.flatten(0, -2), weight.T)  # (N, out)
        if bias is not None:
            y += bias
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        g = gradient.flatten(0, -2)  # (N, out)
        of_x = multiply(g, weight).view(x.shape) if ctx.needs_input_grad[0] else None
        of_weight = multiply(g.T, x.flatten(0, -2))
        return of_x, of_weight, g.sum(0) if ctx.needs_input_grad[2] else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b: (…, in), (out, in) and (out,) to (…, out)."""
    if not PORTABLE:
        return F.linear(x, weight, bias)
    y: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class _CausalAttention(torch.autograd.Function):
    """softmax(scale · QKᵀ) V with its gradient; P are the probabilities, (B, H, T, T)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, scale: float) -> Tensor:
        q, k, v = split_heads(qkv, heads)  # each (B, H, T, d)
        p = multiply(q, k.mT).mul_(scale).add_(hidden(q.shape[-2]))
        torch.softmax(p, -1, out=p)
        y = torch.empty(qkv.shape[0], qkv.shape[1], heads, q.shape[-1])  # (B, T, H, d)
        multiply(p, v, out=y.transpose(1, 2))
        ctx.save_for_backward(qkv, p)
        ctx.scale = scale
        return y.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        qkv, p = ctx.saved_tensors
        heads = p.shape[1]
        q, k, v = split_heads(qkv, heads)
        of_qkv = torch.empty_like(qkv)
        of_q, of_k, of_v = split_heads(of_qkv, heads)
        of_y = gradient.reshape(*gradient.shape[:2], heads, -1).transpose(1, 2)  # (B, H, T, d)
        multiply(p.mT, of_y, out=of_v)
        of_logits = torch._softmax_backward_data(multiply(of_y, v.mT), p, -1, p.dtype).mul_(ctx.scale)
        multiply(of_logits, k, out=of_q)
        multiply(of_logits.mT, q, out=of_k)
        return of_qkv, None, None


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views q, k, v, each (B, H, T, d), of (B, T, 3 · H · d)."""
    q, k, v = qkv.view(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def hidden(length: int) -> Tensor:
    """The causal mask (T, T), which is added to the logits: -∞ where a token may not look, 0 elsewhere."""
    return torch.full((length, length), -math.inf).triu_(1)


def causal_attention(qkv: Tensor, heads: int, scale: float) -> Tensor:
    """Causal attention softmax(scale · QKᵀ) V: (B, T, 3 · D) to (B, T, D)."""
    if not PORTABLE:
        q, k, v = split_heads(qkv, heads)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2).flatten(2)
    y: Tensor = _CausalAttention.apply(qkv, heads, scale)  # type: ignore[no-untyped-call]
    return y
