"""Judge claims by metrics."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from goldilocks.claims.criteria import Criterion, MetricTree, Outcome, as_estimate
from goldilocks.stats.intervals import widened

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
DEPENDS, UNDECIDED, NOT_MEASURED = "depends on the measure", "undecided", "not measured here"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, DEPENDS, UNDECIDED, NOT_MEASURED)
DECIDED = (REPRODUCED, NOT_REPRODUCED, DEPENDS)
"""Verdicts that an estimate decided."""

DECLARED = ("id", "sentence", "source", "unit", "interval", "figure", "by_construction")
"""The fields of a claim that its entry repeats."""

ESTIMATE = ("value", "low", "high", "n")


class Requirement(NamedTuple):
    """One thing that must hold: the estimate at a path meets a criterion."""

    subject: str
    """What is estimated, as the subject of a sentence."""

    path: str
    criterion: Criterion
    measure: str = ""
    """Which of several measures of the same statement it belongs to; empty if all of them need it."""

    unit: str = ""
    """What is replicated, if it differs from the claim's unit."""


class Remark(NamedTuple):
    """Further information that decides nothing: text, followed by the estimate at a path."""

    text: str
    path: str
    each: str = ""
    """If the path leads to a mapping, what is said of each of its entries, with its `name` and `number`."""

    zero: str = ""
    """The same where the number is 0, if other words are needed."""


class Claim(NamedTuple):
    """A sentence of the articles and how it is judged, fixed before looking."""

    id: str
    sentence: str
    source: str
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


def format_metric(metric: Any) -> str:
    """A metric as text, whole numbers whole; where it is a text, that is why there is no number."""
    if isinstance(metric, int):
        return str(metric)
    if isinstance(metric, str):
        return f"{NOT_MEASURED} ({metric})"
    value, low, high, _ = as_estimate(metric)
    return f"{value:.4g}" if low == high else f"{value:.4g} [{low:.4g}, {high:.4g}]"


def spell_out(name: str) -> str:
    """The name of a metric as words in a sentence: `length_16` is with 16 keys, `rho_0_1` is for ρ = 0.1."""
    quantity, _, value = name.partition("_")
    if quantity == "length":
        return f"with {value} keys"
    return f"for ρ = {value.replace('_', '.')}" if quantity == "rho" else name


def format_remark(remark: Remark, known: MetricTree) -> str:
    """A remark as text, names in the order of the numbers in them; empty if there is nothing at its path."""
    metric = known.get(remark.path)
    if metric is None:
        return ""
    if not remark.each:
        return f"{remark.text} {format_metric(metric)}"
    said = []
    for name in sorted(metric, key=lambda name: [int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", name)]):
        words = remark.zero if remark.zero and metric[name] == 0 else remark.each
        said.append(words.format(name=spell_out(name), number=format_metric(metric[name])))
    return f"{remark.text} {', '.join(said)}" if said else ""


def combined(outcomes: set[Outcome]) -> str:
    """The verdict from the outcomes of all tests."""
    if Outcome.REFUTED in outcomes:
        return NOT_REPRODUCED
    return REPRODUCED if outcomes == {Outcome.MET} else UNDECIDED


def by_measure(found: list[dict[str, Any]]) -> dict[str, str]:
    """The verdict by each measure that the evidence names; by one of an empty name if it names none."""
    measures = dict.fromkeys(each["measure"] for each in found if each["measure"]) or {"": None}
    return {name: combined({each["outcome"] for each in found if each["measure"] in ("", name)}) for name in measures}


def over_measures(verdicts: set[str]) -> str:
    """One verdict from those by each measure: theirs if they agree, `depends on the measure` if two differ."""
    if {REPRODUCED, NOT_REPRODUCED} <= verdicts:
        return DEPENDS
    return verdicts.pop() if len(verdicts) == 1 else UNDECIDED


def evidence(requirement: Requirement, known: MetricTree, least: int = 1, comparisons: int = 1) -> dict[str, Any]:
    """What is estimated, its estimate, what is needed, and whether that is met.

    Args:
        least: the fewest units that an interval needs; with fewer there is none, and nothing is decided.
        comparisons: number of claims for which the intervals hold together, by Bonferroni's correction.

    Raises:
        KeyError: if a metric is missing.
    """
    value, low, high, n = estimate = known.estimate(requirement.path)
    outcome = requirement.criterion.outcome(widened(estimate, comparisons), known)
    decided = {"low": low, "high": high, "outcome": outcome}
    if 0 < n < least:
        decided = {"low": None, "high": None, "outcome": Outcome.UNDECIDED}
    required = {"subject": requirement.subject, "measure": requirement.measure}
    return required | {"needed": requirement.criterion.range(known)[-1], "value": value, "n": n or None} | decided


def judge(claim: Claim, known: MetricTree, comparisons: int = 1) -> dict[str, Any]:
    """A claim with its verdict and what that rests on.

    Args:
        comparisons: number of claims for which the intervals hold together, by Bonferroni's correction.

    Returns:
        What the claim declares, its `verdict`, and

        * `gate` and `requirements`: the `evidence` of each; empty if something is not measured, with the `reason`,
        * `value`, `low`, `high`, `n`: the first requirement's, None if the gate is not met,
        * `notes`: further information.
    """
    entry = {key: getattr(claim, key) for key in DECLARED} | dict.fromkeys(ESTIMATE)
    notes = [text for remark in claim.remarks if (text := format_remark(remark, known))]
    try:
        gate = [evidence(each, known) for each in claim.gate]
        found = [evidence(each, known, claim.least, comparisons) for each in claim.requirements]
    except KeyError:
        found_there = (known.get(each.path) for each in claim.requirements)
        reason = next((text for text in found_there if isinstance(text, str)), claim.absent)
        return entry | {"verdict": NOT_MEASURED, "reason": reason, "gate": [], "requirements": [], "notes": notes}
    too_few = [
        f"{n} {each.unit or claim.unit}{'' if n == 1 else 's'} where an honest interval needs {claim.least}"
        for each, n in zip(claim.requirements, (of["n"] for of in found), strict=True)
        if n and n < claim.least
    ]
    verdict, own = UNDECIDED, {key: found[0][key] for key in ESTIMATE}
    if any(each["outcome"] != Outcome.MET for each in gate):
        own = {}
    elif too_few:
        notes = [too_few[0], *notes]
    else:
        measures = by_measure(found)
        verdict = over_measures({*measures.values()})
        notes = [*(f"by {name}: {by_it}" for name, by_it in measures.items() if name), *notes]
    return entry | own | {"verdict": verdict, "reason": "", "gate": gate, "requirements": found, "notes": notes}


def judge_all(claims: tuple[Claim, ...], known: MetricTree) -> list[dict[str, Any]]:
    """Judge every claim, in order, and say whether its verdict stands with intervals that hold for all at once.

    Each interval misses its target in 5 of 100 cases, so among many claims some verdict may well be wrong. With
    intervals at 1 - 5 %/m instead (Bonferroni), m being the claims decided by one, the chance that any misses is at
    most 5 %.
    """
    entries = [judge(claim, known) for claim in claims]
    for entry in entries:
        has_interval = any(each["low"] != each["high"] for each in entry["requirements"])
        entry["has_sampling_error"] = entry["verdict"] in DECIDED and has_interval
    together = sum(entry["has_sampling_error"] for entry in entries)
    for claim, entry in zip(claims, entries, strict=True):
        if entry["has_sampling_error"]:
            entry["survives_bonferroni"] = judge(claim, known, together)["verdict"] == entry["verdict"]
    return entries
