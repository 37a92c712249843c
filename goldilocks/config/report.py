"""The section `report` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from goldilocks.config.run import RootSeed
from goldilocks.core.params import Section


class Settings(Section):
    title: str = Field(min_length=1, max_length=200)
    """Title of the page."""

    repository: str = Field(default="", max_length=200, description="where links to the repository's files lead")
    """Where the repository's files can be seen, such as https://github.com/me/goldilocks/blob/main, for a page that is
    hosted alone; https://github.com/me/goldilocks alone stands for that. Empty: links lead to the files beside the
    page."""

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        if not title.isprintable() or not title.strip():
            raise ValueError("must be one line of printable characters")
        return title

    @field_validator("repository")
    @classmethod
    def _address(cls, repository: str) -> str:
        if repository and not re.fullmatch(r"https?://[\w.:/~%@+-]+", repository):
            raise ValueError("must be empty or an address that begins with http:// or https://")
        address = repository.rstrip("/")
        return f"{address}/blob/main" if re.fullmatch(r"https://github\.com/[^/]+/[^/]+", address) else address


Run = RootSeed
