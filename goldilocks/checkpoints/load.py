"""Load the norms of a checkpoint that a user names, and print what the user should know about them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import Extraction, extract
from goldilocks.checkpoints.reference import FIGURES, GAMMA_FROM, GAMMA_TO, GPT2, NEAR_ZERO
from goldilocks.checkpoints.resolve import resolve
from goldilocks.checkpoints.summary import by_kind
from goldilocks.core.cli import plain

TOLERANCE = 6e-6  # relative; the reference figures have six digits


def read(argument: str | Path, client: Client | None = None) -> Extraction:
    """The norms of the checkpoint that `[NAME=]WHERE` means.

    Raises:
        UserError: if it can't be read, is damaged, or has no norm.
    """
    return extract(resolve(str(argument), client or Client()))


def load(argument: str | Path, client: Client | None = None) -> Extraction:
    """As `read`; notes and warnings go to stderr."""
    extraction = read(argument, client)
    notes = [*extraction.notes]
    if differences := gpt2_differences(extraction):
        more = f" and {len(differences) - 3} more" if differences[3:] else ""
        which = f"these are not the LayerNorms of OpenAI's {extraction.model}"
        notes.append(f"WARNING: {which}: {', '.join(differences[:3])}{more}")
    if not_finite := sum(int((~np.isfinite(tensor.values)).sum()) for tensor in extraction.tensors):
        notes.append(f"{not_finite:,} values are not finite numbers; statistics are of the others")
    for note in notes:
        print(plain(f"{extraction.model}: {note}"), file=sys.stderr)
    return extraction


def gpt2_differences(extraction: Extraction) -> list[str]:
    """The reference figures that a checkpoint named like one of OpenAI's four GPT-2 misses: it may be damaged."""
    measured = by_kind(extraction, GAMMA_FROM, GAMMA_TO, NEAR_ZERO)
    differences = []
    for kind, figures in GPT2.get(extraction.model, {}).items():
        for name, expected in zip(FIGURES, figures, strict=True):
            value = measured.get(kind, {}).get(name)
            if value is None or abs(value - expected) > TOLERANCE * abs(expected):
                here = "missing" if value is None else f"{value:.6g}"
                differences.append(f"{kind} {name} {here} instead of {expected:.6g}")
    return differences


def fingerprint(extraction: Extraction) -> str:
    """The SHA-256 of everything that was extracted."""
    digest = hashlib.sha256(f"{extraction.family} {extraction.config}".encode())
    for tensor in extraction.tensors:
        digest.update(f"{tensor.name} {tensor.norm} {tensor.stored}".encode() + tensor.raw.tobytes())
    return digest.hexdigest()
