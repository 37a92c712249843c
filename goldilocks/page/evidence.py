"""What each claim's verdict rests on, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from goldilocks.page.typeset import capital, estimate, typeset

Claim = Mapping[str, Any]  # an entry of data/claims.json


def sentences(claim: Claim) -> list[str]:
    """What was measured for a claim, and what it needed, a sentence for each requirement."""
    if claim["requirements"]:
        return [_sentence(_requirement(each)) for each in claim["requirements"]]
    kept = claim["kept"]
    if kept["value"] is None:
        return [_sentence(f"it is not measured: {typeset(claim['reason'])}")]
    return [_sentence(f"in the kept run {kept['requirements'][0]['subject']} is {estimate(kept)}")]


def reason(claim: Claim) -> str:
    """Why a claim that was measured could not be judged; empty if it could."""
    shut = [
        f"{each['subject']} is {estimate(each)} (needed: {typeset(each['needed'])})"
        for each in claim["gate"]
        if each["outcome"] != "met"
    ]
    return _sentence(f"the model is not shown to have learned to attend: {' and '.join(shut)}") if shut else ""


def notes(claim: Claim) -> list[str]:
    """What stands beside the sentences and the reason."""
    return [typeset(note) for note in (claim["reason"], *claim["notes"]) if note]


def _requirement(each: Mapping[str, Any]) -> str:
    needed = typeset(each["needed"])
    if each["value"] is None:
        return f"{each['subject']} would have to be {needed}"
    return f"{each['subject']} is {estimate(each)}; needed: {needed}"


def _sentence(words: str) -> str:
    return f"{capital(words)}."
