"""Cross-entropy of a linear head without storing all logits: 823 MB at the articles' size, twice that with softmax.

The loss is the last step of the forward pass, so its gradient can be computed there, some rows at a time. What is kept
for the backward pass is as large as the head and its input. The gradient of the logits z of a row with target
t is softmax(z) - onehot(t) (Bridle 1990).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from goldilocks.model5 import products
from goldilocks.model5.products import multiply

LOGITS_AT_ONCE = 2**25  # 128 MB in float32


def _log(x: Tensor) -> Tensor:
    """The natural logarithm of float64. torch's is MKL's, whose last digit depends on the processor's vendor."""
    return torch.from_numpy(np.log(x.numpy())) if products.PORTABLE else x.log()


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, scale: float, with_gradient: bool) -> Tensor:
        n, vocabulary = x.shape[0], weight.shape[0]
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        low_x, low_weight, low_mean = (x * scale).to(kind), weight.to(kind), (x * (scale / n)).to(kind)
        rows = min(n, max(1, LOGITS_AT_ONCE // vocabulary))
        logits = torch.empty(rows, vocabulary, dtype=kind, device=x.device)  # and then their gradient
        exact = kind == weight.dtype
        p = logits if exact else torch.empty(rows, vocabulary, dtype=weight.dtype, device=x.device)
        surprisal = torch.empty(n, dtype=torch.float64, device=x.device)
        x_gradient, weight_gradient = torch.empty_like(low_x) if with_gradient else low_x, weight
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, n, rows):
                part = slice(start, min(start + rows, n))
                size = part.stop - part.start
                z, of_targets = logits[:size], targets[part, None]
                multiply(low_x[part], low_weight.T, out=z)  # (rows, V)
                at_target, largest = z.gather(1, of_targets), z.amax(1, keepdim=True)
                q = z if exact else p[:size].copy_(z)
                torch.softmax(q, 1, out=q)
                # log Σ exp z = max z - log max p, and max p is at least 1/V
                log_sum = largest.double() - _log(q.amax(1, keepdim=True).double())
                surprisal[part] = (log_sum - at_target).squeeze(1)
                if not with_gradient:
                    continue
                q.scatter_add_(1, of_targets, torch.full_like(at_target, -1.0, dtype=q.dtype))
                z = q if exact else z.copy_(q)
                multiply(z, low_weight, out=x_gradient[part])
                of_part = multiply(z.T, low_mean[part])
                weight_gradient = weight_gradient.add_(of_part) if start else of_part.to(weight.dtype)
        if with_gradient:
            ctx.save_for_backward(x_gradient.mul_(scale / n).to(x.dtype), weight_gradient)
        return surprisal.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return x_gradient.mul_(gradient), weight_gradient.mul_(gradient), None, None, None


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
    """Mean cross-entropy in nats of the logits scale · x Wᵀ.

    Under autocast the products are in its type, softmax and the sums in float32 at least.

    Args:
        x: (N, D).
        weight: W, (V, D).
        targets: (N,) indices below V.
        scale: of the logits.

    Returns:
        A float64 scalar.
    """
    with_gradient = torch.is_grad_enabled()  # which torch does not tell a Function
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, targets, scale, with_gradient)  # type: ignore[no-untyped-call]
    return loss
