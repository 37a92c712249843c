"""The section `formats` of `params.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from goldilocks.core import params
from goldilocks.core.params import Section


class Settings(Section):
    widest: Annotated[int, AfterValidator(params.power_of_two)] = Field(ge=2, le=2**20)
    """Largest dimension d, a power of two; every power of two from 2 on is measured."""

    rows: int = Field(ge=1, le=10_000)
    """Queries q at each d that share their keys, behind the errors."""

    queries: int = Field(ge=1, le=10_000_000)
    """Queries with keys of their own at each d, behind the shares of rows in which something fails."""

    keys: int = Field(ge=2, le=1_000)
    """Keys k at each d, over which softmax is taken."""

    appears: float = Field(gt=0, lt=1)
    """A failure appears at the first d at which the share of rows with it is surely larger than this."""
