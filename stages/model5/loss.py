"""Cross-entropy of a linear head without its logits, which at the articles' size are 823 MB, twice with softmax.

The loss is the last thing computed forwards, so its gradient can be formed right there, for some rows at a time; what
is kept for the backward pass is as large as the head and its input. The gradient of the logits z of a row with target
t is softmax(z) - onehot(t) (Bridle 1990).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS_AT_ONCE = 2**26  # 256 MB in float32


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, scale: float) -> Tensor:
        n, vocabulary = x.shape[0], weight.shape[0]
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        low_x, low_weight = (x * scale).to(kind), weight.to(kind)
        with_gradient = any(ctx.needs_input_grad)
        rows = min(n, max(1, LOGITS_AT_ONCE // vocabulary))
        exact = kind == weight.dtype
        buffer = None if exact else torch.empty(rows, vocabulary, dtype=weight.dtype, device=x.device)
        surprisal = torch.empty(n, dtype=torch.float64, device=x.device)
        x_gradient = torch.empty_like(low_x) if with_gradient else low_x
        weight_gradient = torch.zeros_like(weight) if with_gradient else weight
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, n, rows):
                part = slice(start, start + rows)
                logits = low_x[part] @ low_weight.T  # (rows, V)
                of_targets = targets[part, None]
                at_target = logits.gather(1, of_targets)
                largest = logits.amax(1, keepdim=True)
                p = logits if buffer is None else buffer[: len(logits)].copy_(logits)
                torch.softmax(p, 1, out=p)
                # log Σ exp z = max z - log max p, and max p is at least 1/V
                log_sum = largest.double() - p.amax(1, keepdim=True).double().log()
                surprisal[part] = (log_sum - at_target).squeeze(1)
                if not with_gradient:
                    continue
                p.scatter_add_(1, of_targets, torch.full_like(at_target, -1.0, dtype=p.dtype))
                z_gradient = p if exact else logits.copy_(p)
                torch.mm(z_gradient, low_weight, out=x_gradient[part])
                if exact:
                    weight_gradient.addmm_(z_gradient.T, low_x[part])
                else:
                    weight_gradient.add_(z_gradient.T @ low_x[part])
        if with_gradient:
            ctx.save_for_backward(x_gradient.mul_(scale / n).to(x.dtype), weight_gradient.div_(n))
        return surprisal.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return x_gradient.mul_(gradient), weight_gradient.mul_(gradient), None, None


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
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, targets, scale)  # type: ignore[no-untyped-call]
    return loss
