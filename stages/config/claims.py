"""The section `claims` of `params.yaml`, and what the stage sees of `run:`."""

from __future__ import annotations

from pydantic import Field

from stages.common.params import Section


class Settings(Section):
    about: float = Field(gt=0, lt=1)
    """"About x": the interval lies within this relative margin of x."""

    overlap: float = Field(gt=0, lt=1)
    """"Almost perfectly": relative distance from the theory, at every dimension."""

    few: float = Field(gt=0, lt=1)
    """"A few entries": at most this share of them holds half of the probability."""

    vanished: float = Field(gt=0, lt=1)
    """"Gradients close to 0": less than this share of an even softmax's."""


class Run(Section):
    """This stage sees nothing of `run:`."""
