"""The section `sweep` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    trials: int = Field(ge=2, le=10_000_000)
    """Fresh draws of Q and K for each n."""
