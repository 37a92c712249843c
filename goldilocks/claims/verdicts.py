"""Judge claims by metrics."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from goldilocks.claims.criteria import Criterion, MetricTree, Outcome, as_estimate
from goldilocks.stats.intervals import Estimate, widened

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
DEPENDS, UNDECIDED, NOT_MEASURED = "depends on the measure", "undecided", "not measured here"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, DEPENDS, UNDECIDED, NOT_MEASURED)
NUMBERS = re.compile(r"(\d+)")
DECIDED = (REPRODUCED, NOT_REPRODUCED, DEPENDS)
"""Verdicts that an estimate decided."""

DECLARED = ("id", "sentence", "source", "statistic", "unit", "interval", "figure", "by_construction")
"""The fields of a claim that its entry repeats."""


class Requirement(NamedTuple):
    """One thing that must hold: the estimate at a path meets a criterion."""

    path: str
    criterion: Criterion
    name: str = ""
    """What is estimated; empty for the claim's own statistic, which comes first."""

    measure: str = ""
    """Which of several measures of the same statement it belongs to; empty if all of them need it."""

    unit: str = ""
    """What is replicated, if it differs from the claim's unit."""


class Remark(NamedTuple):
    """Further information that decides nothing: text, followed by the estimate at a path."""

    text: str
    path: str
    every: bool = False
    """Whether the path leads to a mapping of names to estimates, listed one by one."""


class Claim(NamedTuple):
    """A sentence of the articles and how it is judged, fixed before looking."""

    id: str
    sentence: str
    source: str
    statistic: str
    unit: str
    """What is replicated: draws, entries, tensors, seeds."""

    interval: str
    """The kind of 95 % interval."""

    requirements: tuple[Requirement, ...]
    """All of one measure must be met; the first one's estimate is the claim's."""

    gate: tuple[Requirement, ...] = ()
    """Conditions for judging the claim at all; if one is not met, it is undecided."""

    absent: str = "the run has no such figure"
    """Why the metrics may be missing, and what to do."""

    least: int = 1
    """The fewest units that an interval needs."""

    remarks: tuple[Remark, ...] = ()
    figure: str = ""
    by_construction: bool = False
    """Whether it holds by construction, so that it checks the code and is no evidence."""


def format_estimate(e: Estimate) -> str:
    """An estimate as text: value and interval, or only the value if there is no sampling error."""
    if e.low == e.high:
        return f"{e.value:.4g}"
    return f"{e.value:.4g} [{e.low:.4g}, {e.high:.4g}]"


def format_metric(metric: Any) -> str:
    """A metric as text; where it is a text, that is why there is no number."""
    return f"{NOT_MEASURED} ({metric})" if isinstance(metric, str) else format_estimate(as_estimate(metric))


def spell_out(name: str) -> str:
    """The name of a metric as words in a sentence: `length_16` is 16 keys, `rho_0_1` is ρ = 0.1."""
    quantity, _, value = name.partition("_")
    if quantity == "length":
        return f"{value} keys:"
    return f"ρ = {value.replace('_', '.')}:" if quantity == "rho" else name


def format_remark(remark: Remark, known: MetricTree) -> str:
    """A remark as text, names in the order of the numbers in them; empty if there is nothing at its path."""
    metric = known.get(remark.path)
    if metric is None:
        return ""
    if not remark.every:
        return f"{remark.text} {format_estimate(as_estimate(metric))}"
    ordered = sorted(metric, key=lambda name: [int(part) if part.isdecimal() else part for part in NUMBERS.split(name)])
    parts = [f"{spell_out(name)} {format_metric(metric[name])}" for name in ordered]
    return f"{remark.text} {', '.join(parts)}" if parts else ""


def combined(outcomes: list[Outcome]) -> str:
    """The verdict from the outcomes of all tests."""
    if Outcome.REFUTED in outcomes:
        return NOT_REPRODUCED
    return REPRODUCED if set(outcomes) == {Outcome.MET} else UNDECIDED


def by_measure(claim: Claim, outcomes: list[Outcome]) -> dict[str, str]:
    """The verdict by each measure; its name is empty if the claim names none."""
    pairs = list(zip(claim.requirements, outcomes, strict=True))
    measures = dict.fromkeys(each.measure for each in claim.requirements if each.measure) or {"": None}
    return {name: combined([of for each, of in pairs if each.measure in ("", name)]) for name in measures}


def over_measures(verdicts: set[str]) -> str:
    """One verdict from those by each measure: theirs if they agree, `depends on the measure` if two differ."""
    if {REPRODUCED, NOT_REPRODUCED} <= verdicts:
        return DEPENDS
    return verdicts.pop() if len(verdicts) == 1 else UNDECIDED


def criterion(claim: Claim, known: MetricTree) -> str:
    """The claim's criteria in words."""
    return "; ".join(
        f"{each.name}: {each.criterion.describe(known)}" if each.name else each.criterion.describe(known)
        for each in claim.requirements
    )


def judge(claim: Claim, known: MetricTree, comparisons: int = 1) -> dict[str, Any]:
    """A claim with its estimates and verdict.

    Args:
        comparisons: number of claims for which the intervals hold together, by Bonferroni's correction.
    """
    entry = {key: getattr(claim, key) for key in DECLARED} | dict.fromkeys(("value", "low", "high", "n"))
    entry["criterion"] = ""
    remarks = [format_remark(remark, known) for remark in claim.remarks]

    def with_verdict(verdict: str, *notes: str) -> dict[str, Any]:
        return entry | {"verdict": verdict, "note": "; ".join(filter(None, [*notes, *remarks]))}

    try:
        estimates = [known.estimate(each.path) for each in claim.requirements]
        gates = [known.estimate(each.path) for each in claim.gate]
        outcomes = [
            each.criterion.outcome(widened(estimate, comparisons), known)
            for each, estimate in zip(claim.requirements, estimates, strict=True)
        ]
    except KeyError:
        reasons = [reason for each in claim.requirements if isinstance(reason := known.get(each.path), str)]
        return with_verdict(NOT_MEASURED, (reasons or [claim.absent])[0])
    entry["criterion"] = criterion(claim, known)
    if shut := [
        f"{each.name} {format_estimate(estimate)} ({each.criterion.describe(known)})"
        for each, estimate in zip(claim.gate, gates, strict=True)
        if each.criterion.outcome(estimate, known) != Outcome.MET
    ]:
        return with_verdict(UNDECIDED, f"not shown to have learned to attend: {', '.join(shut)}")
    own, *others = estimates
    entry |= {"value": own.value, "n": own.n or None}
    beside = [f"{each.name} {format_estimate(e)}" for each, e in zip(claim.requirements[1:], others, strict=True)]
    for each, e in zip(claim.requirements, estimates, strict=True):
        if 0 < e.n < claim.least:
            units = f"{e.n} {each.unit or claim.unit}{'' if e.n == 1 else 's'}"
            return with_verdict(UNDECIDED, f"{units} where an honest interval needs {claim.least}", *beside)
    measures = by_measure(claim, outcomes)
    entry |= {"low": own.low, "high": own.high}
    by_name = [f"by {name}: {verdict}" for name, verdict in measures.items() if name]
    return with_verdict(over_measures({*measures.values()}), *by_name, *beside)


def rests_on_an_interval(claim: Claim, known: MetricTree) -> bool:
    """Whether an estimate with sampling error decides about it."""
    return any((e := known.estimate(each.path)).low != e.high for each in claim.requirements)


def judge_all(claims: tuple[Claim, ...], known: MetricTree) -> list[dict[str, Any]]:
    """Judge every claim, in order, and say whether its verdict stands with intervals that hold for all at once.

    Each interval misses its target in 5 of 100 cases, so among many claims some verdict may well be wrong. With
    intervals at 1 - 5 %/m instead (Bonferroni), m being the claims decided by one, the chance that any misses is at
    most 5 %.
    """
    entries = [judge(claim, known) for claim in claims]
    sampled = [
        entry["verdict"] in DECIDED and rests_on_an_interval(claim, known)
        for claim, entry in zip(claims, entries, strict=True)
    ]
    for claim, entry, is_sampled in zip(claims, entries, sampled, strict=True):
        entry["has_sampling_error"] = is_sampled
        if is_sampled:
            entry["survives_bonferroni"] = judge(claim, known, sum(sampled))["verdict"] == entry["verdict"]
    return entries
