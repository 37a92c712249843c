"""The section `dynamics` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    early_share: float = Field(gt=0, le=1)
    """Share of the steps, from the front, that counts as early in training."""
