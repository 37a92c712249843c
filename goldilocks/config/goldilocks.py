"""The section `goldilocks` of `params.yaml`."""

from __future__ import annotations

import math

from pydantic import Field, ValidationInfo, field_validator

from goldilocks.core import params
from goldilocks.core.params import Section


class Settings(Section):
    widest: int = Field(ge=4, le=2**20)
    """Largest dimension of the map, a power of two; the others are 2, 4, 8, … up to it."""

    exponents: int = Field(ge=3, le=1001)
    """Logit scales d^-x for each dimension, x evenly from 0 to 1; odd, so that 1/√d is one of them."""

    lengths: list[int] = Field(min_length=1, max_length=6)
    """Numbers n of keys that softmax runs over."""

    correlations: list[float] = Field(min_length=1, max_length=6)
    """Correlations ρ of the query's entries with those of the key at its own position."""

    trials: int = Field(ge=2, le=10_000_000)
    """Queries, each with keys of its own, for each dimension and length."""

    line_trials: int = Field(ge=2, le=10_000_000)
    """Queries at the scales 1, 1/√d and 1/d, which locate the zone's edges; at least `trials`."""

    line_keys: int = Field(ge=2, le=10**12)
    """Keys that those queries may have together, for each dimension and length."""

    least_gradient: float = Field(gt=0, lt=1)
    """In the zone the gradient is on average at least this share of an even softmax's."""

    least_discrimination: float = Field(gt=1)
    """In the zone the largest probability is on average at least this multiple of 1/n."""

    @field_validator("widest")
    @classmethod
    def _power_of_two(cls, widest: int) -> int:
        return params.power_of_two(widest)

    @field_validator("exponents")
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError("must be odd, so that 1/√d is one of the scales")
        return points

    @field_validator("lengths")
    @classmethod
    def _distinct_and_two_keys_at_least(cls, lengths: list[int]) -> list[int]:
        if any(not 2 <= n <= 2**20 for n in lengths):
            raise ValueError("every length must lie in 2 … 1048576")
        if len(set(lengths)) < len(lengths):
            raise ValueError("no length may stand twice")
        return lengths

    @field_validator("correlations")
    @classmethod
    def _distinct_and_from_none_to_full(cls, correlations: list[float]) -> list[float]:
        if any(not 0 <= rho <= 1 for rho in correlations):
            raise ValueError("every correlation must lie in 0 … 1")
        if len({f"{rho:g}" for rho in correlations}) < len(correlations):
            raise ValueError("no correlation may stand twice, to six digits")
        return correlations

    @field_validator("least_discrimination")
    @classmethod
    def _within_reach(cls, least: float, info: ValidationInfo) -> float:
        shortest = min(info.data.get("lengths", [math.inf]))
        if least >= shortest:
            raise ValueError(f"must be less than the shortest of goldilocks.lengths, {shortest}: a probability of 1")
        return least
