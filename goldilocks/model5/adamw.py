"""AdamW (Loshchilov & Hutter 2019) by torch's own kernel, without `torch.optim.Optimizer`.

An `Optimizer` loads torch's compiler only to exclude itself from compilation. That takes 2 s, the time of 20 steps of a
small Model 5.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = 0.9, 0.999  # these and ε are torch.optim.AdamW's defaults
EPSILON = 1e-8


class AdamW:
    """Updates parameters from their gradients, at a constant learning rate.

    Args:
        parameters: the parameters, each listed once.

    Attributes:
        means: the moving average of each parameter's gradient, in the parameter's shape.
        squares: the moving average of the squared gradient.
        steps: the number of updates of each parameter, ().
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Make one update; every parameter has its gradient."""
        adamw(
            self.parameters,
            [parameter.grad for parameter in self.parameters],  # type: ignore[misc]
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter in self.parameters:
            parameter.grad = None
