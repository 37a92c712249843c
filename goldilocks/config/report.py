"""The section `report` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

from pydantic import Field, field_validator

from goldilocks.config.run import RootSeed
from goldilocks.core.params import Section


class Settings(Section):
    title: str = Field(min_length=1, max_length=200)
    """Title of the page."""

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        if not title.isprintable() or not title.strip():
            raise ValueError("must be one line of printable characters")
        return title


class Run(RootSeed):
    """What this stage sees of `run:`."""
