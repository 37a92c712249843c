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

    def get(self, path: str) -> Any:
        """The metric at a dotted path, None if there is none."""
        entry: Any = self.metrics
        for key in path.split("."):
            entry = entry.get(key) if isinstance(entry, Mapping) else None
        return entry

    def at(self, path: str) -> Any:
        """The metric at a dotted path.

        Raises:
            KeyError: if there is none.
        """
        if (entry := self.get(path)) is None:
            raise KeyError(path)
        return entry

    def estimate(self, path: str) -> Estimate:
        """The estimate at a dotted path.

        Raises:
            KeyError: if there is none, or a text that says why.
        """
        if isinstance(entry := self.at(path), str):
            raise KeyError(path)
        return as_estimate(entry)

    def number(self, number: Number) -> float:
        """A number, the margin of a name, or the metric at a path."""
        if not isinstance(number, str):
            return number
        return self.estimate(number).value if "." in number else self.margins[number]


def as_estimate(entry: Any) -> Estimate:
    """A metric as an estimate; a plain number is one without sampling error, of 0 observations."""
    if isinstance(entry, Mapping):
        return Estimate(entry["value"], entry["low"], entry["high"], int(entry.get("n", 0)))
    return Estimate(float(entry), float(entry), float(entry), 0)


class Criterion(NamedTuple):
    """A range of accepted values, its ends included."""

    range: Callable[[MetricTree], tuple[float, float, str]]
    """The lowest and the highest accepted value, and where the interval must lie, in words."""

    beyond: str = ""
    """The path of a metric that must lie above the range, or else nothing is decided."""

    def outcome(self, estimate: Estimate, known: MetricTree) -> Outcome:
        """Whether an estimate meets it.

        Raises:
            KeyError: if there is no metric where the criterion looks for one.
        """
        low, high, _ = self.range(known)
        if estimate.high < low or estimate.low > high:
            return Outcome.REFUTED
        met = low <= estimate.low and estimate.high <= high
        return Outcome.MET if met and (not self.beyond or known.number(self.beyond) > high) else Outcome.UNDECIDED


def above(limit: Number) -> Criterion:
    """Above a limit, which is not included."""
    return Criterion(lambda known: (math.nextafter(x := known.number(limit), math.inf), math.inf, f"above {x:g}"))


def below(limit: Number) -> Criterion:
    """Below a limit, which is not included."""
    return Criterion(lambda known: (-math.inf, math.nextafter(x := known.number(limit), -math.inf), f"below {x:g}"))


def at_least(limit: Number) -> Criterion:
    """From a limit on."""
    return Criterion(lambda known: (x := known.number(limit), math.inf, f"from {x:g} on"))


def about(target: Number, margin: str = "about") -> Criterion:
    """Within a relative margin of a target."""

    def within(known: MetricTree) -> tuple[float, float, str]:
        x, share = known.number(target), known.number(margin)
        words = "what is expected" if isinstance(target, str) else f"{x:g}"
        return x * (1 - share), x * (1 + share), f"within ±{share:.0%} of {words}"

    return Criterion(within)


def exactly(target: float, tolerance: float = 0.0) -> Criterion:
    """A value without sampling error, to an absolute tolerance."""
    words = f"{target:g} to {tolerance:g}" if tolerance else f"exactly {target:g}"
    return Criterion(lambda _: (target - tolerance, target + tolerance, words))


def fits_and_differs(degrees: str, other: str, name: str) -> Criterion:
    """Pearson's χ² does not refute one hypothesis, but refutes another, which shows that the test has power.

    The statistic is χ²/df; 99.9 % of true hypotheses lie in the range. If the other hypothesis does, too, the sample is
    too small to decide.
    """

    def accepted(known: MetricTree) -> tuple[float, float, str]:
        df = int(known.number(degrees))
        low, high = (chi_square_quantile(p, df) / df for p in (0.0005, 0.9995))
        return low, high, f"in [{low:.3g}, {high:.3g}], where 99.9% of true draws lie, and {name} is not"

    return Criterion(accepted, beyond=other)
