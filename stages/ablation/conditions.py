"""The conditions that ablations compare: a small Model 5 with one of its choices, or two, taken back."""

from __future__ import annotations

from typing import Any, NamedTuple

NARROW, USUAL, WIDE = 0.002, 0.02, 0.2


class Condition(NamedTuple):
    """How a Model 5 differs from the articles' in fields of its `Variant` and in the σ of its Linear weights."""

    label: str
    variant: dict[str, Any]
    linear_std: float | None = USUAL
    """None: Xavier-normal."""


def _grid() -> dict[str, Condition]:
    """Every scaling of attention's logits with every width of the start."""
    scalings = {"scaled": ("1/√d", 0.5), "unscaled": ("no scaling", 0.0), "scaled_by_d": ("1/d", 1.0)}
    starts = {"": USUAL, "_narrow": NARROW, "_wide": WIDE}
    return {
        f"{name}{start}": Condition(f"{label}, start {std}", {"attention_exponent": exponent}, std)
        for name, (label, exponent) in scalings.items()
        for start, std in starts.items()
    }


GRID = _grid()
ARTICLES = "scaled"  # the condition that the articles train
WIDE_START = "scaled_wide"
NO_LAYERNORM = "no_layernorm"
CONDITIONS = GRID | {
    "xavier": Condition("Xavier start", {}, None),
    "untied": Condition("head not tied", {"tied": False}),
    NO_LAYERNORM: Condition("no LayerNorm", {"layernorm": False}),
    "head_unscaled": Condition("head without 1/√D", {"head_scaled": False}),
}
