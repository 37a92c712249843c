"""Criteria: when an estimate supports a claim, refutes it, or leaves it undecided.

A criterion is a range of accepted values and takes the whole 95 % interval. It is met if all of the interval lies in
the range, refuted if none of it does, and undecided otherwise. A range ends at a number, at a margin named in the
section `claims:`, or at another metric named by its path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from goldilocks.stats.intervals import Estimate, chi_square_quantile

Number = float | str  # the number, its margin's name, or its path


class Outcome(StrEnum):
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
        entry: Any = self.metrics
        for key in path.split("."):
            if not isinstance(entry, Mapping):
                raise KeyError(path)
            entry = entry[key]
        return entry

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
        entry = self.at(path)
        if isinstance(entry, str):  # why there is none
            raise KeyError(path)
        return as_estimate(entry)

    def get(self, path: str) -> Any:
        """The metric at a dotted path, None if there is none."""
        try:
            return self.at(path)
        except KeyError:
            return None


def as_estimate(entry: Any) -> Estimate:
    """A metric as an estimate; a plain number is one without sampling error, of 0 observations."""
    if isinstance(entry, Mapping):
        return Estimate(entry["value"], entry["low"], entry["high"], int(entry.get("n", 0)))
    return Estimate(float(entry), float(entry), float(entry), 0)


class Criterion(NamedTuple):
    """A range of accepted values, its ends included."""

    range: Callable[[MetricTree], tuple[float, float]]
    """The lowest and the highest accepted value."""

    describe: Callable[[MetricTree], str]
    """Where the interval must lie, in words."""

    beyond: str = ""
    """The path of a metric that must lie above the range, or else nothing is decided."""

    def outcome(self, estimate: Estimate, known: MetricTree) -> Outcome:
        """Whether an estimate meets it.

        Raises:
            KeyError: if there is no metric where the criterion looks for one.
        """
        low, high = self.range(known)
        if estimate.high < low or estimate.low > high:
            return Outcome.REFUTED
        met = low <= estimate.low and estimate.high <= high
        return Outcome.MET if met and (not self.beyond or known.number(self.beyond) > high) else Outcome.UNDECIDED


def above(limit: Number) -> Criterion:
    """Above a limit, which is not included."""
    return Criterion(
        lambda known: (math.nextafter(known.number(limit), math.inf), math.inf),
        lambda known: f"above {known.number(limit):g}",
    )


def below(limit: Number) -> Criterion:
    """Below a limit, which is not included."""
    return Criterion(
        lambda known: (-math.inf, math.nextafter(known.number(limit), -math.inf)),
        lambda known: f"below {known.number(limit):g}",
    )


def at_least(limit: Number) -> Criterion:
    """From a limit on."""
    return Criterion(lambda known: (known.number(limit), math.inf), lambda known: f"from {known.number(limit):g} on")


def about(target: Number, margin: str = "about") -> Criterion:
    """Within a relative margin of a target."""
    words = "what is expected" if isinstance(target, str) else f"{target:g}"
    return Criterion(
        lambda known: (
            known.number(target) * (1 - known.number(margin)),
            known.number(target) * (1 + known.number(margin)),
        ),
        lambda known: f"within ±{known.number(margin):.0%} of {words}",
    )


def exactly(target: float, tolerance: float = 0.0) -> Criterion:
    """A value without sampling error, to an absolute tolerance."""
    words = f"{target:g} to {tolerance:g}" if tolerance else f"exactly {target:g}"
    return Criterion(lambda _: (target - tolerance, target + tolerance), lambda _: words)


def fits_and_differs(degrees: str, other: str, name: str) -> Criterion:
    """Pearson's χ² does not refute one hypothesis, but refutes another, which shows that the test has power.

    The statistic is χ²/df; 99.9 % of true hypotheses lie in the range. If the other hypothesis does, too, the sample is
    too small to decide.
    """
    share = 0.999

    def accepted(known: MetricTree) -> tuple[float, float]:
        df = known.at(degrees)
        low, high = (chi_square_quantile((1 + side * share) / 2, df) / df for side in (-1, 1))
        return low, high

    def describe(known: MetricTree) -> str:
        low, high = accepted(known)
        return f"in [{low:.3g}, {high:.3g}], where {share:.1%} of true draws lie, and {name} is not"

    return Criterion(accepted, describe, beyond=other)
