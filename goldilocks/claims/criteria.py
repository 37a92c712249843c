"""Criteria: when an estimate supports a claim, refutes it, or leaves it undecided.

A criterion is a range of accepted values and takes the whole 95 % interval. It is met if all of the interval lies in
the range, refuted if none of it does, and undecided otherwise. A range ends at a number, at a margin named in the
section `claims:`, or at another metric named by its path.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from goldilocks.stats.intervals import Estimate, chi_square_quantile

Number = float | str  # the number, its margin's name, or its path


class Outcome(Enum):
    """Whether an estimate meets a criterion."""

    MET = "met"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


class MetricTree(NamedTuple):
    """The stages' metrics, by dotted paths, and the margins fixed beforehand."""

    metrics: Mapping[str, Any]
    margins: Mapping[str, float]

    def at(self, path: str) -> Any:
        """The metric at a dotted path.

        Raises:
            KeyError: if there is none.
        """
        found: Any = self.metrics
        for key in path.split("."):
            if not isinstance(found, Mapping):
                raise KeyError(path)
            found = found[key]
        return found

    def number(self, number: Number) -> float:
        """A number, the margin of a name, or the metric at a path."""
        if not isinstance(number, str):
            return number
        return float(self.at(number) if "." in number else self.margins[number])

    def estimate(self, path: str) -> Estimate:
        """The estimate at a dotted path; a plain number is one without sampling error, of 0 observations.

        Raises:
            KeyError: if there is none, or a text that says why.
        """
        found = self.at(path)
        if isinstance(found, str):  # why there is none
            raise KeyError(path)
        return as_estimate(found)

    def get(self, path: str) -> Any:
        """The metric at a dotted path, None if there is none."""
        try:
            return self.at(path)
        except KeyError:
            return None


def as_estimate(found: Any) -> Estimate:
    """A metric as an estimate; a plain number is one without sampling error, of 0 observations."""
    if isinstance(found, Mapping):
        return Estimate(found["value"], found["low"], found["high"], int(found.get("n", 0)))
    return Estimate(float(found), float(found), float(found), 0)


def between(met: bool, refuted: bool) -> Outcome:
    return Outcome.MET if met else Outcome.REFUTED if refuted else Outcome.UNDECIDED


class Criterion(ABC):
    """A range of accepted values, ends included, except those of `Above` and `Below`."""

    @abstractmethod
    def range(self, known: MetricTree) -> tuple[float, float]:
        """The lowest and highest accepted value."""

    @abstractmethod
    def describe(self, known: MetricTree) -> str:
        """The criterion in words, with the numbers that are known."""

    def outcome(self, estimate: Estimate, known: MetricTree) -> Outcome:
        """Whether an estimate meets it.

        Raises:
            KeyError: if there is no metric where the criterion looks for one.
        """
        low, high = self.range(known)
        return between(low <= estimate.low and estimate.high <= high, estimate.high < low or estimate.low > high)


@dataclass(frozen=True)
class Above(Criterion):
    limit: Number
    name: str = ""

    def range(self, known: MetricTree) -> tuple[float, float]:
        return math.nextafter(known.number(self.limit), math.inf), math.inf

    def describe(self, known: MetricTree) -> str:
        return f"interval above {self.name or format(known.number(self.limit), 'g')}"


@dataclass(frozen=True)
class AtLeast(Criterion):
    limit: Number

    def range(self, known: MetricTree) -> tuple[float, float]:
        return known.number(self.limit), math.inf

    def describe(self, known: MetricTree) -> str:
        return f"interval from {known.number(self.limit):g} on"


@dataclass(frozen=True)
class Below(Criterion):
    limit: Number
    name: str = ""

    def range(self, known: MetricTree) -> tuple[float, float]:
        return -math.inf, math.nextafter(known.number(self.limit), -math.inf)

    def describe(self, known: MetricTree) -> str:
        return f"interval below {self.name or format(known.number(self.limit), 'g')}"


@dataclass(frozen=True)
class About(Criterion):
    """Within a relative margin of a target."""

    target: Number
    margin: str = "about"

    def range(self, known: MetricTree) -> tuple[float, float]:
        target, margin = known.number(self.target), known.number(self.margin)
        return target * (1 - margin), target * (1 + margin)

    def describe(self, known: MetricTree) -> str:
        target = "what is expected" if isinstance(self.target, str) else f"{self.target:g}"
        return f"interval within ±{known.number(self.margin):.0%} of {target}"


@dataclass(frozen=True)
class Exactly(Criterion):
    """A value without sampling error, to an absolute tolerance."""

    target: Number
    tolerance: float = 0.0

    def range(self, known: MetricTree) -> tuple[float, float]:
        target = known.number(self.target)
        return target - self.tolerance, target + self.tolerance

    def describe(self, known: MetricTree) -> str:
        exact = f"{known.number(self.target):g}"
        return f"{exact} to {self.tolerance:g}" if self.tolerance else f"exactly {exact}"


@dataclass(frozen=True)
class FitsAndDiffers(Criterion):
    """Pearson's χ² does not refute one hypothesis, but refutes another, which shows that the test has power.

    The statistic is χ²/df; 99.9 % of true hypotheses lie in the range. If the other hypothesis does, too, the sample is
    too small to decide.
    """

    degrees: str
    other: str
    name: str
    share: float = 0.999

    def range(self, known: MetricTree) -> tuple[float, float]:
        degrees = known.at(self.degrees)
        low, high = (chi_square_quantile((1 + side * self.share) / 2, degrees) / degrees for side in (-1, 1))
        return low, high

    def describe(self, known: MetricTree) -> str:
        try:
            low, high = self.range(known)
        except KeyError:
            return f"where {self.share:.1%} of true draws lie, and {self.name} does not"
        return f"in [{low:.3g}, {high:.3g}], where {self.share:.1%} of true draws lie, and {self.name} is not"

    def outcome(self, estimate: Estimate, known: MetricTree) -> Outcome:
        fits = super().outcome(estimate, known) == Outcome.MET
        return between(fits and known.number(self.other) > self.range(known)[1], not fits)
