"""Is a rebuilt output the committed one? Identical, equal as data, within tolerance, or off; and by which value.

What is compared with what: a file in git with the file in git, a file under data/ with its entry in
`reports/digests.json`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from stages.verification.contents import DATA, Contents, Value, contents, md5
from stages.verification.tolerances import Tolerance, Tolerances, difference, excess


class Class(IntEnum):
    """What became of an output or a value; the worst of a group speaks for it."""

    IDENTICAL = 0
    EQUAL = 1
    WITHIN = 2
    OFF = 3

    def __str__(self) -> str:
        return ("identical", "equal as data", "within tolerance", "off")[self]


@dataclass(frozen=True)
class Finding:
    """One value of an output, rebuilt and committed."""

    output: str
    name: str
    result: Class
    value: Value | None
    committed: Value | None
    tolerance: Tolerance | None
    line: tuple[str, str] | None
    """The patterns of the line in `tolerances.yaml`."""
    difference: float
    """The largest absolute one, infinite where there is none to tell."""
    relative: float
    """The largest one relative to the committed value."""
    times: float
    """How many times the tolerance it is."""
    problem: str = ""

    @property
    def follows(self) -> bool:
        """Whether it may differ only because something else does."""
        return self.tolerance is not None and self.tolerance.follows

    def alone(self) -> Finding:
        """It, if nothing else differs: then nothing may have become of what only follows."""
        if not self.follows or self.result == Class.IDENTICAL:
            return self
        problem = "differs, and nothing that it is made from does"
        return dataclasses.replace(self, result=Class.OFF, times=math.inf, problem=problem)

    def told(self) -> dict[str, Any]:
        """It as JSON can hold it: of a list, the value that is off most."""
        value, committed = self.worst()
        limits = {"rtol": 0.0, "atol": 0.0}
        if self.tolerance:
            limits = {"rtol": self.tolerance.rtol, "atol": self.tolerance.atol}
            if (self.tolerance.digit or self.tolerance.follows) and isinstance(committed, int | float):
                limits["atol"] = float(self.tolerance.limit(np.array([committed], np.float64))[0])
        numbers = {"difference": self.difference, "relative": self.relative, "times": self.times} | limits
        return {
            "output": self.output,
            "name": self.name,
            "class": str(self.result),
            "value": value,
            "committed": committed,
            "line": list(self.line) if self.line else None,
            "problem": self.problem,
        } | {key: number if math.isfinite(number) else None for key, number in numbers.items()}

    def worst(self) -> tuple[Value | None, Value | None]:
        """The value and the committed one; of lists the entries that differ most."""
        if not isinstance(self.value, list) or not isinstance(self.committed, list):
            return self.value, self.committed
        apart = difference(self.value, self.committed)
        if apart is None or not apart.size:
            return f"{len(self.value)} numbers", f"{len(self.committed)} numbers"
        at = int(np.argmax(apart))
        return self.value[at], self.committed[at]


@dataclass(frozen=True)
class Side:
    """One of the two versions of a file."""

    md5: str
    contents: Contents


def of_file(path: Path) -> Side:
    """A file as it lies here."""
    return Side(md5(path), contents(path))


def of_digest(entry: Mapping[str, Any]) -> Side:
    """A file as `reports/digests.json` has it."""
    return Side(entry["md5"], entry["contents"])


def findings(output: str, here: Side, there: Side, tolerances: Tolerances) -> Iterator[Finding]:
    """Every value of a file, rebuilt (`here`) and committed (`there`)."""
    for name in sorted({*here.contents, *there.contents} - {DATA}):
        yield _finding(output, name, here.contents.get(name), there.contents.get(name), tolerances)


def _finding(output: str, name: str, value: Value | None, committed: Value | None, tolerances: Tolerances) -> Finding:
    line = tolerances.find(output, name)
    if value is None or committed is None:
        problem = "not in the rebuild" if value is None else "not in what is committed"
        return Finding(output, name, Class.OFF, value, committed, None, line, math.inf, math.inf, math.inf, problem)
    apart = difference(value, committed)
    largest = relative = math.inf if value != committed else 0.0
    if apart is not None and apart.size:
        size = np.abs(np.array(committed, np.float64).reshape(-1))
        largest = float(apart.max())
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = float(np.where(apart == 0, 0.0, apart / size).max())
    if line is None:
        problem = f"{tolerances.path}: no line for it: give it a tolerance, and the reason"
        return Finding(output, name, Class.OFF, value, committed, None, line, largest, relative, math.inf, problem)
    tolerance = tolerances.lines[line]
    times = excess(value, committed, tolerance)
    result = Class.IDENTICAL if value == committed else Class.WITHIN if times <= 1 else Class.OFF
    return Finding(output, name, result, value, committed, tolerance, line, largest, relative, times)


def judged(here: Side, there: Side, found: list[Finding]) -> Class:
    """The class of a file, from its bytes and its values."""
    values = max((finding.result for finding in found), default=Class.IDENTICAL)
    if values == Class.OFF or here.md5 == there.md5:
        return values
    if here.contents.get(DATA) == there.contents.get(DATA):
        return Class.EQUAL
    has_values = set(there.contents) > {DATA}
    return Class.WITHIN if has_values else Class.OFF
