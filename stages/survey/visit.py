"""A checkpoint that a user names: found, its norms extracted, and told what they should know of it."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from stages.common.cli import plain, redacted
from stages.survey import gpt2
from stages.survey.client import Client
from stages.survey.extract import Extraction, extract
from stages.survey.locate import is_here, locate, where
from stages.survey.ranges import Advance, ignore


def progress(total: int, model: str) -> Advance:
    """A bar for the bytes of a checkpoint's norms, shown once they take more than two seconds."""
    if sys.stderr is None or not sys.stderr.isatty():
        return ignore
    from tqdm import tqdm

    return tqdm(total=total or None, desc=model, unit="B", unit_scale=True, delay=2, leave=False).update


def visit(argument: str, client: Client) -> Extraction:
    """The norms of the checkpoint that `[NAME=]WHERE` means; notes and warnings go to stderr.

    Raises:
        UserError: if it can't be read, is damaged, or has no norm.
    """
    found = extract(locate(argument, client), progress)
    notes = [*found.notes, *gpt2.warnings(found)]
    bad = sum(int((~np.isfinite(tensor.values)).sum()) for tensor in found.tensors)
    if bad:
        notes.append(f"{bad:,} values are not finite numbers; statistics are of the others")
    for note in notes:
        print(plain(f"{found.model}: {note}"), file=sys.stderr)
    return found


def is_local(argument: str) -> bool:
    """Whether `[NAME=]WHERE` means a file or folder of this machine."""
    return is_here(where(argument)[1])


def origin(argument: str) -> str:
    """Where a checkpoint came from, as provenance says it: a path differs from machine to machine and is none."""
    return "a file of this machine" if is_local(argument) else redacted(where(argument)[1])


def fingerprint(found: Extraction) -> str:
    """The SHA-256 over everything that was extracted."""
    told = hashlib.sha256(f"{found.family} {found.config}".encode())
    for tensor in found.tensors:
        told.update(f"{tensor.name} {tensor.norm} {tensor.stored}".encode() + tensor.raw.tobytes())
    return told.hexdigest()
