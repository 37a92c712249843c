"""Whether a checkpoint called as one of OpenAI's four GPT-2 has its LayerNorms: a damaged or other file is noticed."""

from __future__ import annotations

from goldilocks.checkpoints.extract import Extraction
from goldilocks.checkpoints.reference import FIGURES, GAMMA_FROM, GAMMA_TO, GPT2, NEAR_ZERO
from goldilocks.checkpoints.summary import by_kind

TOLERANCE = 6e-6  # relative; the figures have six digits


def differences(extraction: Extraction, reference: str) -> list[str]:
    """The figures in which an extraction differs from one of the four."""
    found = by_kind(extraction, GAMMA_FROM, GAMMA_TO, NEAR_ZERO)
    told = []
    for kind, expected in GPT2[reference].items():
        for name, value in zip(FIGURES, expected, strict=True):
            here = found.get(kind, {}).get(name)
            if here is None or abs(here - value) > TOLERANCE * abs(value):
                told.append(f"{kind} {name} {'missing' if here is None else f'{here:.6g}'} instead of {value:.6g}")
    return told


def warnings(extraction: Extraction) -> list[str]:
    """What to say of a checkpoint that is called as one of the four, but is not it."""
    if extraction.model not in GPT2:
        return []
    told = differences(extraction, extraction.model)
    if not told:
        return []
    more = f" and {len(told) - 3} more" if told[3:] else ""
    return [f"WARNING: these are not the LayerNorms of OpenAI's {extraction.model}: {', '.join(told[:3])}{more}"]
