"""Check that a checkpoint named like one of OpenAI's four GPT-2 has its LayerNorms, to notice a damaged file."""

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
    """The warning about a checkpoint that is named like one of the four and has other norms."""
    if extraction.model not in GPT2:
        return []
    told = differences(extraction, extraction.model)
    if not told:
        return []
    more = f" and {len(told) - 3} more" if told[3:] else ""
    return [f"WARNING: these are not the LayerNorms of OpenAI's {extraction.model}: {', '.join(told[:3])}{more}"]
