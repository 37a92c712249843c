"""What each claim's verdict rests on, in sentences.

The table of claims has each requirement in a few words, its criterion, and its estimate among the notes. Here every
requirement becomes a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from goldilocks.page.typeset import capital, estimate, typeset

Claim = Mapping[str, Any]

SUBJECTS = {
    "S1": ("σ of all entries of Q", "σ of all entries of K"),
    "S2": ("the mean σ of QKᵀ over draws",),
    "S3": ("the largest distance of the mean σ/√n from 1", "the slope of ½ log mean variance on log n"),
    "S4": ("the mean σ of QKᵀ/√d over draws",),
    "S5": ("the share of a row's entries that hold half of its probability",
           "the share of entries that get next to nothing (less than softmax.negligible)"),
    "S6": ("the effective share of a row's entries, exp(H)/n,", "the same share without scaling"),
    "S7": ("without scaling the loss gradient at the widest d, as a share of an even softmax's,",
           "its largest factor from d to 2d", "the diagonal at the widest d, as that share,",
           "the diagonal's largest factor from d to 2d", "the Jacobian norm at the widest d, as that share,",
           "the Jacobian norm's largest factor from d to 2d"),
    "S8": ("the lowest loss gradient with 1/√d, as a share of an even softmax's,",
           "the lowest largest probability with 1/√d, as a multiple of an even softmax's,",
           "the loss gradient without scaling at the widest d", "the largest probability with 1/d at the widest d",
           "the share of heads in the zone after training, with LayerNorm less without,"),
    "S9": ("χ²/df of sampled frequencies against softmax(z/√d)",
           "the largest difference of softmax(z/√d) from p^(1/T) renormalised"),
    "S10": ("the share of all γ in that range",),
    "S11": ("the share of |β| below layernorm.beta_near_zero",),
    "S12": ("the share of γ below 1, which shrinks what the norm has brought to unit RMS, not what enters it,",),
    "S13": ("what the gradient jumps more from step to step without LayerNorm (σ of the change of ln ‖gradient‖)",),
    "S14": ("what activations drift more through the blocks without LayerNorm (|ln(last RMS / first)|)",),
    "S15": ("what gradients of blocks differ more without LayerNorm (σ of mean ln ‖gradient‖)",),
    "W1": ("the largest |bias|",),
    "W2": ("the σ of all Linear weights",),
    "W3": ("the σ of the position embeddings",),
    "W4": ("the σ of the token embeddings", "their σ without tying"),
    "W5": ("the relative growth of σ, mean over blocks,", "that growth less the growth on shuffled tokens"),
    "W6": ("the change of excess kurtosis, mean over Q, K, V and blocks,",
           "the change of the tail mass, which widening alone would raise,",
           "the change of excess kurtosis less that on shuffled tokens"),
    "W7": ("the rank correlation of depth with the growth of σ", "that less the one on shuffled tokens",
           "the rank correlation of depth with the growth of the spectral norm",
           "that less the one on shuffled tokens"),
    "W8": ("the growth of σ in block 0 less the largest of the other blocks", "that less the one on shuffled tokens",
           "the growth of the spectral norm in block 0 less the largest of the others",
           "that less the one on shuffled tokens"),
    "W9": ("the lowest attention entropy of a head early in training, as a share of its maximum,",),
}  # fmt: skip
"""What is estimated, by claim, in the order of its requirements."""

GATE = "not shown to have learned to attend: "
NUMBER = r"-?\d[\d.]*(?:e[+-]?\d+)?"
ESTIMATE = rf"{NUMBER}(?: \[{NUMBER}, {NUMBER}\])?"
GATED = re.compile(rf"(.+?) ({ESTIMATE}) \(interval (.+?)\)(?:, |$)")


def _written(words: str) -> str:
    """An estimate of the table's notes as the page writes it."""
    value, *interval = map(float, re.findall(NUMBER, words))
    low, high = interval or (None, None)
    return estimate({"value": value, "low": low, "high": high})


def _beside(name: str, notes: list[str]) -> str:
    """Take the first note that is an estimate of this name out of the notes; empty if there is none."""
    for note in notes:
        if re.fullmatch(f"{re.escape(name)} {ESTIMATE}", note):
            notes.remove(note)
            return note.removeprefix(name)
    return ""


def _names(claim: Claim) -> list[str]:
    """The table's names of a claim's requirements but the first."""
    return [part.rpartition(": ")[0] for part in claim["criterion"].split("; ")[1:]]


def requirements(claim: Claim) -> list[tuple[str, str, str]]:
    """Subject, estimate and criterion of each requirement; no estimate where the claim could not be judged."""
    remaining = claim["note"].split("; ")
    beside = [_beside(name, remaining) for name in _names(claim)]
    values = [estimate(claim), *(words and _written(words) for words in beside)]
    needed = [part.rpartition(": ")[2].removeprefix("interval ") for part in claim["criterion"].split("; ")]
    return list(zip(SUBJECTS[claim["id"]], values, map(typeset, needed), strict=True))


def sentences(claim: Claim) -> list[str]:
    """What was measured for a claim, and what it needed, a sentence for each requirement."""
    if claim["criterion"]:
        return [
            _sentence(f"{subject} is {value}; needed: {words}" if value else f"{subject} would have to be {words}")
            for subject, value, words in requirements(claim)
        ]
    if claim["kept"]["value"] is None:
        return [_sentence(f"it is not measured: {typeset(claim['note'].split('; ')[0])}")]
    return [_sentence(f"in the kept run {SUBJECTS[claim['id']][0]} is {estimate(claim['kept'])}")]


def reason(claim: Claim) -> str:
    """Why a claim that was measured could not be judged; empty if it could."""
    first = claim["note"].split("; ")[0]
    if not first.startswith(GATE):
        return ""
    shut = [
        f"{name} is {_written(value)} (needed: {words})" for name, value, words in GATED.findall(first[len(GATE) :])
    ]
    return _sentence(f"the model is not shown to have learned to attend: {' and '.join(shut)}")


def notes(claim: Claim) -> list[str]:
    """What else the table notes, beside what the sentences and the reason say."""
    remaining = [note for note in claim["note"].split("; ") if note and not note.startswith(GATE)]
    for name in _names(claim):
        _beside(name, remaining)
    return [typeset(note) for note in remaining]


def _sentence(words: str) -> str:
    return f"{capital(words)}."
