"""How evidence becomes a verdict: findings, and the judges that several claims share.

A judge is a function from the stages' metrics and the margins fixed beforehand to a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

REPRODUCED, NOT_REPRODUCED, NOT_MEASURED = "reproduced", "not reproduced", "not measured here"
Metrics = Mapping[str, Any]


class Margins(Protocol):
    """What counts as "about", as overlapping "almost perfectly", and as "a few"; see the section `claims:`."""

    @property
    def about(self) -> float: ...

    @property
    def overlap(self) -> float: ...

    @property
    def few(self) -> float: ...


class Finding(NamedTuple):
    """What a run says about a claim: the estimate with its interval, the verdict and a note for the reader."""

    verdict: str
    note: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


def judged(met: bool, estimate: Metrics, note: str = "") -> Finding:
    verdict = REPRODUCED if met else NOT_REPRODUCED
    return Finding(verdict, note, estimate["value"], estimate["low"], estimate["high"])


def within(estimate: Metrics, target: float, margin: float) -> bool:
    """Whether the whole interval lies within a relative margin of the target."""
    return bool(abs(estimate["low"] - target) <= margin * target and abs(estimate["high"] - target) <= margin * target)


def point(value: float) -> Metrics:
    """An estimate without sampling error: a census, or a deterministic number."""
    return {"value": value, "low": value, "high": value}


def not_measured(reason: str) -> Callable[[Metrics, Margins], Finding]:
    return lambda metrics, margins: Finding(NOT_MEASURED, reason)


def about(path: str, target: Callable[[Metrics], float]) -> Callable[[Metrics, Margins], Finding]:
    """A judge: the interval of the estimate at `path` lies within ± `claims.about` of the target."""

    def judge(metrics: Metrics, margins: Margins) -> Finding:
        estimate, expected = at(metrics, path), target(metrics)
        return judged(within(estimate, expected, margins.about), estimate, f"target {expected:.6g}")

    return judge


def over_seeds(
    path: str, met: Callable[[Metrics], bool], note: str = "", least: int = 2
) -> Callable[[Metrics, Margins], Finding]:
    """A judge of an estimate over seeds, which fewer than `least` seeds can't give an honest interval for."""

    def judge(metrics: Metrics, margins: Margins) -> Finding:
        try:
            estimate = at(metrics, path)
        except KeyError:
            return Finding(
                NOT_MEASURED,
                "needs snapshots soon enough after the start, and for an order several blocks",
            )
        if estimate["n"] < least:
            return Finding(
                NOT_MEASURED,
                f"too few seeds for an interval ({estimate['n']} of at least {least}); name more in run.seeds",
                estimate["value"],
            )
        return judged(met(estimate), estimate, f"{estimate['n']} seeds" + (f"; {note}" if note else ""))

    return judge


def told(metrics: Metrics, **sentences: str) -> str:
    """Notes on estimates of Model 5's dynamics by their names, each a sentence before value and interval.

    What the run has no estimate of is left out.
    """
    found = {text: metrics["dynamics"][name] for name, text in sentences.items() if name in metrics["dynamics"]}
    return "; ".join(f"{text} {e['value']:.3g} [{e['low']:.3g}, {e['high']:.3g}]" for text, e in found.items())


def at(metrics: Metrics, path: str) -> Any:
    """The entry at a dotted path.

    Raises:
        KeyError: if there is none.
    """
    found: Any = metrics
    for key in path.split("."):
        found = found[key]
    return found
