"""Collect the rows of the tables and write snapshots while Model 5 trains; checkpoints hold and restore the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from goldilocks.config.train import Settings
from goldilocks.core import files, tables
from goldilocks.model5 import attention_stats, training, weight_stats
from goldilocks.model5.weight_stats import Row

SNAPSHOT_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Recorder:
    """Records a training.

    Args:
        windows: the fixed test windows (N, T + 1).
        inference: windows for the loss with other scalings of attention's logits, at the last snapshot.
        references: losses of the n-gram baselines on the fixed test windows.
        folder: where the snapshots of the QKV weights go.
    """

    def __init__(
        self,
        settings: Settings,
        objective: training.Objective,
        windows: Tensor,
        inference: Tensor,
        references: dict[str, float],
        folder: Path,
    ) -> None:
        self.settings = settings
        self.objective = objective
        self.windows, self.inference = windows, inference
        self.references = references
        self.folder = folder
        self.edges = np.linspace(-settings.histogram_limit, settings.histogram_limit, settings.histogram_edges)
        self.steps = set(weight_stats.snapshot_steps(settings.steps, settings.snapshot_every))
        self.initial = weight_stats.qkv_weights(objective.model)
        self.watched: dict[str, np.ndarray] = {}  # the snapshot whose update comes next
        names = ("losses", "weights", "histograms", "updates", "attention", "inference", "logit_histograms")
        self.rows: dict[str, list[Row]] = {name: [] for name in names}

    def before(self, step: int) -> None:
        """Record the model after `step` updates, if a table has that step."""
        settings, model = self.settings, self.objective.model
        if step % settings.evaluate_every == 0:
            found = {"test": self._loss(self.windows)}
            with model.attention_exponent(None):
                found["test_without_attention"] = self._loss(self.windows)
            found |= {} if step else self.references
            self.rows["losses"] += [{"step": step, "split": split, "loss": loss} for split, loss in found.items()]
        if step in self.steps:
            weights = weight_stats.qkv_weights(model)
            tail = settings.tail_sigmas * settings.linear_std
            probes = self.windows[: settings.probe_windows]
            self.rows["weights"] += weight_stats.weight_rows(weights, self.initial, settings.heads, step, tail)
            self.rows["histograms"] += weight_stats.histogram_rows(weights, step, self.edges)
            for scaling, exponent in attention_stats.SCALINGS.items():
                for table, rows in attention_stats.record_attention(model, step, probes, scaling).items():
                    self.rows[table] += rows
                if step == max(self.steps):
                    with model.attention_exponent(exponent):
                        loss = self._loss(self.inference)
                    self.rows["inference"].append({"step": step, "scaling": scaling, "loss": loss})
            kind = SNAPSHOT_TYPES[settings.snapshot_precision]
            tensors = {name: torch.from_numpy(weight).to(kind) for name, weight in weights.items()}
            files.write_bytes(self.folder / f"step-{step:06d}.safetensors", save(tensors))
            self.watched = weights

    def _loss(self, windows: Tensor) -> float:
        return training.mean_loss(self.objective, windows, self.settings.batch_size)

    def after(self, step: int) -> None:
        """Record the update just made, if the weights before it were a snapshot; the gradients are still there."""
        if self.watched:
            model, heads = self.objective.model, self.settings.heads
            after, gradients = weight_stats.qkv_weights(model), weight_stats.qkv_gradients(model)
            self.rows["updates"] += weight_stats.update_rows(self.watched, after, gradients, heads, step)
            self.watched = {}

    def train_loss(self, step: int, loss: float) -> None:
        self.rows["losses"].append({"step": step, "split": "train", "loss": loss})

    def loss(self, split: str, which: int) -> float:
        """The first (0) or last (-1) loss of a split."""
        return float([row["loss"] for row in self.rows["losses"] if row["split"] == split][which])

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        """Every table as columns."""
        return {table: tables.columns(rows) for table, rows in self.rows.items()}

    def restore(self, found: dict[str, dict[str, list[Any]]]) -> None:
        """Restore the rows from the result of `columns`."""
        for table, of_table in found.items():
            self.rows[table] = [dict(zip(of_table, row, strict=True)) for row in zip(*of_table.values(), strict=True)]
