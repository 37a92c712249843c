"""The section `figures` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    width: float = Field(ge=4, le=30)
    """Width of the figures in inches."""

    dpi: int = Field(ge=30, le=1200)
    """Resolution of the point clouds and heat maps, which are rasterised."""


Run = Section  # this stage sees nothing of `run:`
