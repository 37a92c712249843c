"""The section `goldilocks` of `params.yaml`."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from goldilocks.core import params
from goldilocks.core.params import Section


class Settings(Section):
    widest: Annotated[int, AfterValidator(params.power_of_two)] = Field(ge=4, le=2**20)
    """Largest dimension of the map, a power of two; the others are 2, 4, 8, … up to it."""

    exponents: int = Field(ge=3, le=1001)
    """Logit scales d^-x for each dimension, x evenly from 0 to 1; odd, so that 1/√d is one of them."""

    lengths: list[Annotated[int, Field(ge=2, le=2**20)]] = Field(min_length=1, max_length=6)
    """Numbers n of keys that softmax runs over."""

    correlations: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1, max_length=6)
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

    @field_validator("exponents")
    @classmethod
    def _odd(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError("must be odd, so that 1/√d is one of the scales")
        return points

    @field_validator("lengths", "correlations")
    @classmethod
    def _distinct(cls, numbers: list[float]) -> list[float]:
        if len({x if isinstance(x, int) else f"{x:g}" for x in numbers}) < len(numbers):
            raise ValueError("no number may stand twice, to six digits")
        return numbers

    @field_validator("least_discrimination")
    @classmethod
    def _within_reach(cls, least: float, info: ValidationInfo) -> float:
        shortest = min(info.data.get("lengths", [math.inf]))
        if least >= shortest:
            raise ValueError(f"must be less than the shortest of goldilocks.lengths, {shortest}: a probability of 1")
        return least
