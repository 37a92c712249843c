"""The section `softmax` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    trials: int = Field(ge=2, le=1_000_000)
    """Fresh draws of Q and K behind the intervals."""

    samples: int = Field(ge=1_000, le=10_000_000)
    """Draws for each row in the test of the sampling temperature."""

    negligible: float = Field(gt=0, lt=0.01)
    """A probability below this counts as about 0; shares below a hundredth and a hundred times it are reported, too."""
