"""The section `tokens` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    train_share: float = Field(gt=0, lt=1)
    """Share of the tokens, from the front, that Model 5 trains on."""

    context_length: int = Field(ge=2, le=65_536)
    """Tokens Model 5 sees at once; a window is one longer, since its targets are shifted by one."""
