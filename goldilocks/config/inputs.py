"""The section `inputs` of `params.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from goldilocks.core.cli import redacted
from goldilocks.core.params import Section


class Settings(Section):
    source: str = Field(min_length=1)
    """`embedded`, `hub`, or the path of a directory (relative to the project's folder, or absolute)."""

    subpackages: list[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]] = Field(min_length=1)
    """NumPy subpackages whose docstrings make the embedded text."""

    vocabulary: int = Field(ge=257, le=65_536)
    """Tokens of the BPE trained on the embedded text: the 256 bytes, the end of text, and merges."""

    text_url: str = Field(pattern=r"^https?://")
    """Where `hub` gets Gulliver's Travels."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """Repository on the model hub where `hub` gets tokenizer and checkpoint."""

    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of that repository."""

    checkpoints: list[str]
    """More checkpoints whose norms to survey, each as the command `stages.layernorm` takes them."""

    timeout: float = Field(gt=0, le=600)
    """Seconds to wait for a server's answer."""

    retries: int = Field(ge=0, le=10)
    """How often a failed request is repeated, waiting longer each time."""

    @field_validator("checkpoints")
    @classmethod
    def _without_signatures(cls, arguments: list[str]) -> list[str]:
        if any("://" in argument and redacted(argument) != argument for argument in arguments):
            raise ValueError("what follows ? may be a signature, and dvc.lock and the report would show it")
        return arguments
