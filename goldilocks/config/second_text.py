"""The section `second_text` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    package: str = Field(pattern=r"^[A-Za-z_]\w*$")
    """An installed package whose docstrings are the text."""

    subpackages: list[str] = Field(min_length=1)
    """Its subpackages that are read."""
