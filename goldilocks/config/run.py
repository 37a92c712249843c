"""The shared section `run:` of `params.yaml`, in parts: a stage sees those that its `Run` is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from goldilocks.core.params import Section


class RootSeed(Section):
    root_seed: int = Field(ge=0, lt=2**63)


class Seeds(Section):
    seeds: list[int] = Field(min_length=1, max_length=1000)

    @field_validator("seeds")
    @classmethod
    def _distinct_and_natural(cls, seeds: list[int]) -> list[int]:
        if any(not 0 <= seed < 2**31 for seed in seeds):
            raise ValueError("every seed must lie in 0 … 2147483647")
        if len(set(seeds)) < len(seeds):
            raise ValueError("no seed may stand twice")
        return seeds


class Arithmetic(Section):
    arithmetic: Literal["portable", "native"]


class Run(RootSeed, Seeds, Arithmetic):
    """The whole shared section `run:`."""
