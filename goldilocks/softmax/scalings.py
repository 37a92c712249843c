"""The scalings of attention's logits, by name: none, 1/√d and 1/d, d being the dimension of queries and keys."""

from __future__ import annotations

EXPONENTS = {"unscaled": 0.0, "scaled": 0.5, "scaled_by_d": 1.0}
"""The logits are q·k / d^exponent."""

FACTORS = {"unscaled": "1", "scaled": "1/√d", "scaled_by_d": "1/d"}
"""The factor of the dot products, as text."""

OWN = "scaled"
"""The scaling that Model 5 is trained with."""

OWN_FIRST = tuple(dict.fromkeys((OWN, *EXPONENTS)))


def factor(scaling: str, d: int) -> float:
    """The factor 1/d^exponent of the dot products of vectors of dimension d."""
    factor: float = 1 / float(d) ** EXPONENTS[scaling]
    return factor
