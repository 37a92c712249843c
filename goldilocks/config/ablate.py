"""The section `ablate` of `params.yaml`, and what the stages that read it see of `run:`."""

from __future__ import annotations

from pydantic import Field, field_validator

from goldilocks.config.model5 import Model5
from goldilocks.config.run import RootSeed


class Settings(Model5):
    rates: list[float] = Field(min_length=1, max_length=100)
    rates_seed: int = Field(ge=0, lt=2**31)
    look_every: int = Field(ge=1, le=10_000_000)

    @field_validator("rates")
    @classmethod
    def _distinct_rates(cls, rates: list[float]) -> list[float]:
        if any(not 0 < rate <= 10 for rate in rates):
            raise ValueError("every rate must lie above 0 and at most at 10")
        if len(set(rates)) < len(rates):
            raise ValueError("no rate may stand twice")
        return rates


class Run(RootSeed):
    """What these stages see of `run:`."""
