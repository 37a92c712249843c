"""The section `layernorm` of `params.yaml`."""

from __future__ import annotations

import math

from pydantic import Field, ValidationInfo, field_validator

from goldilocks.core.params import Section


class Settings(Section):
    gamma_from: float
    """Lower end of the range that the articles name for γ."""

    gamma_to: float
    """Upper end of that range."""

    beta_near_zero: float = Field(gt=0)
    """|β| below this counts as concentrated around 0."""

    @field_validator("gamma_to")
    @classmethod
    def _forwards(cls, end: float, info: ValidationInfo) -> float:
        start = info.data.get("gamma_from", -math.inf)
        if end <= start:
            raise ValueError(f"must be greater than layernorm.gamma_from = {start}")
        return end
