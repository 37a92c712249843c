"""Record one run of an ablation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from goldilocks.model5 import attention_stats, training, weight_stats
from goldilocks.model5.weight_stats import ALL_HEADS, Row

WHOLE_MODEL = -1
OF_HEADS = ("logit_std", "relative_gradient", "discrimination")


def rms(x: Tensor) -> float:
    """Root mean square of activations of any shape."""
    return math.sqrt(float((x.double() ** 2).mean()))


class Watch:
    """Records a training for the `ablation` table.

    Args:
        windows: the fixed test windows (N, T + 1); activations and attention are measured on the first `probes`.
        at_once: number of windows in a batch of a test loss.
        steps: the steps to record at, in order.
        references: losses of the n-gram baselines on the fixed test windows.
    """

    def __init__(
        self,
        objective: training.Objective,
        windows: Tensor,
        probes: int,
        at_once: int,
        steps: list[int],
        references: dict[str, float],
    ) -> None:
        self.objective = objective
        self.windows, self.probes, self.at_once = windows, windows[:probes, :-1], at_once
        self.steps, self.ends = set(steps), {steps[0], steps[-1]}
        self.rows: list[Row] = []
        for name, loss in references.items():
            self._note(f"{name}_loss", 0, {WHOLE_MODEL: loss})
        self.gradients: list[list[float]] = []  # of each step, by block

    def _note(self, quantity: str, step: int, values: dict[int, float], head: int = ALL_HEADS) -> None:
        if not all(map(math.isfinite, values.values())):
            raise training.DivergedError(f"{quantity} is not finite at step {step}")
        self.rows += [
            {"quantity": quantity, "step": step, "block": block, "head": head, "value": value}
            for block, value in values.items()
        ]

    def before(self, step: int) -> None:
        """Record the model after `step` updates, if `steps` has that step.

        Raises:
            DivergedError: if a recorded value is not finite.
        """
        if step not in self.steps:
            return
        self._note("test_loss", step, {WHOLE_MODEL: self._loss()})
        with self.objective.model.attention_exponent(None):
            self._note("test_loss_without_attention", step, {WHOLE_MODEL: self._loss()})
        weights = weight_stats.qkv_weights(self.objective.model).values()
        with np.errstate(invalid="ignore"):  # of weights that are not finite
            self._note("std", step, {i: float(weight.std(dtype=np.float64)) for i, weight in enumerate(weights)})
        self._activations(step)

    def _loss(self) -> float:
        return training.mean_loss(self.objective, self.windows, self.at_once)

    @torch.no_grad()
    def _activations(self, step: int) -> None:
        model = self.objective.model
        x = model.embed(self.probes)
        entering, seen, entropy, largest = {}, {}, {}, {}
        for i, block in enumerate(model.blocks):
            of_attention = block.attention_input(x)
            entering[i], seen[i] = rms(x), rms(of_attention)
            qkv = block.attn.project(of_attention)
            found = attention_stats.attention_statistics(block.attn.logits(qkv).numpy())
            entropy[i], largest[i] = found["normalised_entropy"].mean(), found["largest_logit"].max()
            for quantity in OF_HEADS if step in self.ends else ():
                for head, value in enumerate(found[quantity].tolist()):
                    self._note(quantity, step, {i: value}, head)
            x = block.finish(x, block.attn.attend(qkv))
        self._note("residual_rms", step, entering | {len(entering): rms(x)})
        self._note("input_rms", step, seen)
        self._note("attention_entropy", step, entropy)
        self._note("largest_logit", step, largest)

    def after(self, step: int) -> None:
        """Record the gradient norms of the update just made.

        Raises:
            DivergedError: if they are not finite.
        """
        norms = [
            float(torch.nn.utils.get_total_norm([p.grad for p in block.parameters() if p.grad is not None]))
            for block in self.objective.model.blocks
        ]
        if step in self.steps:
            self._note("gradient_norm", step, dict(enumerate(norms)))
        if all(map(math.isfinite, norms)):
            self.gradients.append(norms)

    def train_loss(self, step: int, loss: float) -> None:
        if step in self.steps:
            self._note("train_loss", step, {WHOLE_MODEL: loss})

    def diverged(self, step: int) -> None:
        """Record that the loss at a step is not finite."""
        self._note("diverged", step, {WHOLE_MODEL: 1.0})

    def summarise_gradients(self) -> None:
        """Record, by block, statistics of the log gradient norms over all steps.

        They are the mean, the standard deviation, and the standard deviation of step-to-step differences, which a trend
        does not raise.
        """
        if len(self.gradients) < 3:
            return
        logs = np.log(np.maximum(np.array(self.gradients), np.finfo(np.float64).tiny))  # (steps, blocks)
        for quantity, values in (
            ("gradient_log_mean", logs.mean(0)),
            ("gradient_log_spread", logs.std(0, ddof=1)),
            ("gradient_log_jump", np.diff(logs, axis=0).std(0, ddof=1)),
        ):
            self._note(quantity, len(self.gradients) - 1, dict(enumerate(values.tolist())))
