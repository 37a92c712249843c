"""The section `claims` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field

from goldilocks.core.params import Section


class Settings(Section):
    about: float = Field(gt=0, lt=1)
    """"About x": the interval lies within this relative margin of x."""

    overlap: float = Field(gt=0, lt=1)
    """"Almost perfectly": relative distance from the theory, at every dimension."""

    few: float = Field(gt=0, lt=1)
    """"A few entries": at most this share of them holds half of the probability."""

    attends: float = Field(ge=0, le=100)
    """"Has learned to attend": deleting attention raises the test loss by this at least, in nats/token."""

    gain: float = Field(ge=0, le=100)
    """The same of an ablation: and its test loss is this far below that of unigrams, in nats/token."""

    vanished: float = Field(gt=0, lt=1)
    """"Gradients close to 0": less than this share of an even softmax's."""
