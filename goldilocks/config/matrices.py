"""The section `matrices` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from goldilocks.core.params import Section


class Settings(Section):
    rows: int = Field(ge=2, le=10_000)
    """Rows of Q and of K: QKᵀ is rows x rows."""

    dimension: int = Field(ge=1, le=100_000)
    """Columns of Q and K in experiments 1 and 3."""

    first_dimension: int = Field(ge=1, le=100_000)
    """First n of experiment 2."""

    last_dimension: int = Field(ge=1, le=100_000)
    """Last n of experiment 2, included."""

    @field_validator("last_dimension")
    @classmethod
    def _forwards(cls, last: int, info: ValidationInfo) -> int:
        first = info.data.get("first_dimension", last)
        if last <= first:
            raise ValueError(f"must be greater than matrices.first_dimension = {first}: a slope needs two dimensions")
        return last
