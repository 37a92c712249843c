"""Load the norms of a checkpoint that a user names, and print what the user should know about them."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from goldilocks.checkpoints import gpt2
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import Extraction, extract
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core.cli import plain


def load(argument: str, client: Client) -> Extraction:
    """The norms of the checkpoint that `[NAME=]WHERE` means; notes and warnings go to stderr.

    Raises:
        UserError: if it can't be read, is damaged, or has no norm.
    """
    found = extract(resolve(argument, client))
    notes = [*found.notes, *gpt2.warnings(found)]
    not_finite = sum(int((~np.isfinite(tensor.values)).sum()) for tensor in found.tensors)
    if not_finite:
        notes.append(f"{not_finite:,} values are not finite numbers; statistics are of the others")
    for note in notes:
        print(plain(f"{found.model}: {note}"), file=sys.stderr)
    return found


def fingerprint(extraction: Extraction) -> str:
    """The SHA-256 of everything that was extracted."""
    digest = hashlib.sha256(f"{extraction.family} {extraction.config}".encode())
    for tensor in extraction.tensors:
        digest.update(f"{tensor.name} {tensor.norm} {tensor.stored}".encode() + tensor.raw.tobytes())
    return digest.hexdigest()
