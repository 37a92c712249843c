"""Was a fault survived? What runs ended with and what they left, judged; nothing here runs anything."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

MESSAGE = re.compile(r"^(error|ERROR): \S", re.MULTILINE)
TRACEBACK = "Traceback (most recent call last)"
SHOWN = 3  # differences named in a line


class Outcome(StrEnum):
    """What became of one injected fault; the columns of the table."""

    ALONE = "alone"
    """The result is right although the fault was there."""

    TOLD = "told"
    """It ended with a clear error, or was killed; without the fault, a plain re-run gave the right result."""

    UNTIDY = "untidy"
    """As before, but the error was a traceback, or said nothing."""

    WRONG = "wrong"
    """It claimed success, and the result was another one."""

    STUCK = "stuck"
    """A plain re-run without the fault failed, or gave another result."""


FAILURES = (Outcome.UNTIDY, Outcome.WRONG, Outcome.STUCK)


class Ending(NamedTuple):
    """How a run ended.

    Args:
        code: its exit code, negative for a signal; None if it never ended and was given up.
        said: everything that it printed.
    """

    code: int | None
    said: str

    @property
    def killed(self) -> bool:
        """Whether it was killed: then it can't have said anything."""
        return self.code == -signal.SIGKILL


class Verdict(NamedTuple):
    outcome: Outcome
    why: str = ""


def differences(found: Mapping[str, str], expected: Mapping[str, str], apart: Iterable[str] = ()) -> list[str]:
    """What differs between the hashes of two results, by name; `apart` are names that are not looked at."""
    names = sorted((found.keys() | expected.keys()) - set(apart))
    kinds = ((name, "extra" if name not in expected else "missing" if name not in found else "other") for name in names)
    return [f"{kind} {name}" for name, kind in kinds if found.get(name) != expected.get(name)]


def some(differing: Sequence[str]) -> str:
    """The first differences, and how many more there are."""
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    return ", ".join(differing[:SHOWN]) + more


def untidiness(ending: Ending) -> str:
    """What is wrong with what a run said; nothing if it went well, was killed, or told its error clearly."""
    if ending.killed:
        return ""
    if TRACEBACK in ending.said:
        return f"exit code {ending.code} with a traceback"
    if ending.code is None:
        return "it never ended"
    if ending.code != 0 and not MESSAGE.search(ending.said):
        return f"exit code {ending.code} without an error message"
    return ""


def message(ending: Ending) -> str:
    """The first error that a run told."""
    found = MESSAGE.search(ending.said)
    return ending.said[found.start() :].splitlines()[0] if found else "killed"


def judge(endings: Sequence[Ending], differing: Sequence[str], again: Ending, remaining: Sequence[str]) -> Verdict:
    """Judge one injection.

    Args:
        endings: of the runs that the fault disturbed.
        differing: how the result after them differs from an undisturbed one.
        again: the ending of a plain re-run with the fault taken away.
        remaining: how the result after that differs.
    """
    if differing and any(ending.code == 0 for ending in endings):
        return Verdict(Outcome.WRONG, f"exit code 0, but {some(differing)}")
    if again.code != 0:
        return Verdict(Outcome.STUCK, f"a plain re-run {'never ended' if again.code is None else 'failed'}")
    if remaining:
        return Verdict(Outcome.STUCK, f"after a plain re-run: {some(remaining)}")
    untidy = [problem for problem in map(untidiness, (*endings, again)) if problem]
    if untidy:
        return Verdict(Outcome.UNTIDY, untidy[0])
    failed = [ending for ending in endings if ending.code != 0]
    return Verdict(Outcome.TOLD, "; ".join(map(message, failed))) if failed else Verdict(Outcome.ALONE)


HEADER = ("fault", "injected", "healed alone", "by a plain re-run", "untidy", "wrong", "stuck")


def table(outcomes: Mapping[str, Sequence[Outcome]], skipped: Mapping[str, str]) -> list[str]:
    """The table of counts by fault, as aligned lines; a fault that was not injected has the reason in its place."""
    rows = [(name, str(len(found)), *(str(found.count(kind)) for kind in Outcome)) for name, found in outcomes.items()]
    everything = [outcome for found in outcomes.values() for outcome in found]
    total = ("all", str(len(everything)), *(str(everything.count(kind)) for kind in Outcome))
    widths = [max(map(len, column)) for column in zip(HEADER, total, *rows, strict=True)]
    widths[0] = max(widths[0], *map(len, skipped), 0)
    lines = ["  ".join(_aligned(row, widths)) for row in (HEADER, *rows, total)]
    lines[-1:-1] = [f"{name:<{widths[0]}}  not injected: {reason}" for name, reason in skipped.items()]
    return lines


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
