"""The section `ablations` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field, field_validator

from goldilocks.ablations.conditions import BASE, CONDITIONS
from goldilocks.config.run import Seeds


class Settings(Seeds):
    conditions: list[str] = Field(min_length=1)
    """What is trained, by names in `goldilocks/ablations/conditions.py`."""

    @field_validator("conditions")
    @classmethod
    def _known_and_distinct(cls, conditions: list[str]) -> list[str]:
        unknown = sorted(set(conditions) - set(CONDITIONS))
        if unknown:
            raise ValueError(f"no such condition: {', '.join(unknown)}; there are: {', '.join(CONDITIONS)}")
        if BASE not in conditions:
            raise ValueError(f"must hold {BASE!r}, which the others are compared with")
        if len(set(conditions)) < len(conditions):
            raise ValueError("no condition may stand twice")
        return conditions
