"""The section `dynamics` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.config.run import Seeds
from goldilocks.core.params import Section


class Settings(Section):
    early_share: float = Field(gt=0, le=1)
    """Share of the steps, from the front, that counts as early in training."""


class Run(Seeds):
    """What this stage sees of `run:`."""
