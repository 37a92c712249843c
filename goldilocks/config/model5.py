"""What the sections of `params.yaml` that train a Model 5 have in common."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from goldilocks.core.params import Section


class Model5(Section):
    width: int = Field(ge=2, le=16_384)
    heads: int = Field(ge=1, le=256)
    blocks: int = Field(ge=1, le=256)
    batch_size: int = Field(ge=1, le=65_536)  # over all processes
    steps: int = Field(ge=1, le=10_000_000)
    weight_decay: float = Field(ge=0, le=10)  # of every parameter
    linear_std: float = Field(ge=1e-6, le=10)
    evaluation_windows: int = Field(ge=1, le=1_000_000)
    probe_windows: int = Field(ge=1, le=65_536)

    @field_validator("heads")
    @classmethod
    def _divide_the_width(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width", heads)
        if width % heads:
            raise ValueError(f"must divide width = {width}")
        return heads

    @field_validator("probe_windows")
    @classmethod
    def _among_the_evaluation_windows(cls, probes: int, info: ValidationInfo) -> int:
        windows = info.data.get("evaluation_windows", probes)
        if probes > windows:
            raise ValueError(f"must be at most evaluation_windows = {windows}")
        return probes
