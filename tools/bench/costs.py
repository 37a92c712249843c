"""Runs processes and measures what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from goldilocks.core.cli import UserError

ROOT = Path(__file__).resolve().parents[2]


class Cost(NamedTuple):
    """The cost of one process: seconds from start to end, peak memory in bytes, and its output."""

    seconds: float
    memory: int
    printed: str


def cost(*arguments: str) -> Cost:
    """Run Python with these arguments.

    Raises:
        UserError: if it fails.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - this interpreter and modules of ours
            [sys.executable, *arguments], cwd=ROOT, stdout=output, stderr=errors
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (output, errors):
            file.seek(0)
        if process.returncode:
            killed = "was killed, most likely because memory ran out" * (process.returncode == -9)
            raise UserError(f"{' '.join(arguments)}: {killed or errors.read().decode(errors='replace').strip()[-500:]}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Cost(seconds, peak, output.read().decode())


def row(what: str, seconds: Sequence[float], memory: float, more: str = "") -> str:
    """A row of the table: the median of the seconds with their range, memory in bytes, and further columns."""
    digits = 2 if median(seconds) > 0.1 else 4
    low, middle, high = (f"{value:.{digits}f}" for value in (min(seconds), median(seconds), max(seconds)))
    return f"{what:<46}{middle:>8} s {f'({low}-{high})':<18}{memory / 1e9:>6.2f} GB  {more}".rstrip()
