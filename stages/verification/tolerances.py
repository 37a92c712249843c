"""How far may a number lie from the committed one? `tolerances.yaml` has a line for each, and none goes without."""

from __future__ import annotations

import fnmatch
import functools
import math
import re
from pathlib import Path

import numpy as np
from pydantic import Field, RootModel, ValidationError, model_validator

from stages.common import cli, files, params
from stages.verification.contents import Value

TOLERANCES = Path("tolerances.yaml")


class Tolerance(params.Section):
    """How far a value may lie from the committed one: |value - committed| ≤ atol + rtol · |committed|."""

    rtol: float = Field(default=0.0, ge=0, lt=1)
    """Relative to the committed value."""
    atol: float = Field(default=0.0, ge=0)
    """Absolute, in the value's unit."""
    digit: bool = False
    """One unit of the last digit that metrics are rounded to, the sixth, is allowed."""
    follows: bool = False
    """It shows what other values say: anything may become of it as soon as one of those differs, else nothing."""
    why: str = Field(min_length=10)
    """The reason."""

    @model_validator(mode="after")
    def _one_kind(self) -> Tolerance:
        if self.follows + self.digit + bool(self.rtol or self.atol) > 1:
            raise ValueError("takes follows, or digit, or rtol and atol")
        return self

    def limit(self, committed: np.ndarray) -> np.ndarray:
        """The largest difference allowed from each of the committed numbers."""
        if self.follows:
            return np.full(committed.shape, np.inf)
        size = np.abs(committed)
        if self.digit:
            powers = np.floor(np.log10(np.where(size > 0, size, 1.0)))
            unit = 10.0 ** (powers - files.SIGNIFICANT_DIGITS + 1)
            return np.asarray(np.where(size > 0, unit * (1 + 1e-6), 0.0))  # 1e-6: decimals are not exact
        return np.asarray(self.atol + self.rtol * np.where(np.isfinite(size), size, 0.0))


class _Lines(RootModel[dict[str, dict[str, Tolerance]]]):
    """Tolerances by pattern of a file's path and pattern of a value's name."""


class Tolerances:
    """The lines of `tolerances.yaml`; of those whose patterns fit, the first holds. `*` stands for any characters.

    Args:
        exact: take only whether there is a line from it, and allow no difference.

    Raises:
        UserError: if the file can't be read, or a line is not sound.
    """

    def __init__(self, path: Path = TOLERANCES, exact: bool = False) -> None:
        self.path = Path(path.name)
        try:
            parsed = _Lines.model_validate(params.read(path, largest=2**20)).root
        except ValidationError as error:
            raise cli.UserError(
                *(f"{self.path}: {': '.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
            ) from None
        self.lines = {(file, name): line for file, lines in parsed.items() for name, line in lines.items()}
        if exact:
            self.lines = {key: Tolerance(why=line.why) for key, line in self.lines.items()}
        self._compiled = [
            (re.compile(fnmatch.translate(file)), re.compile(fnmatch.translate(name)), (file, name))
            for file, name in self.lines
        ]

    @functools.lru_cache(maxsize=1024)  # noqa: B019  one object for a run of the command
    def _of_file(self, file: str) -> list[tuple[re.Pattern[str], tuple[str, str]]]:
        return [(name, line) for path, name, line in self._compiled if path.match(file)]

    def find(self, file: str, name: str) -> tuple[str, str] | None:
        """The patterns of the line that holds for a value of a file, None if there is none."""
        return next((line for pattern, line in self._of_file(file) if pattern.match(name)), None)


def difference(value: Value, committed: Value) -> np.ndarray | None:
    """|value - committed| for numbers, or lists of numbers of one length; None for what can't be subtracted.

    Two NaNs, or two equal infinities, differ by 0; a finite and another number by infinity.
    """
    sides = [entry if isinstance(entry, list) else [entry] for entry in (value, committed)]
    if len(sides[0]) != len(sides[1]) or any(isinstance(entry, bool | str) for side in sides for entry in side):
        return None
    here, there = (np.array(side, np.float64) for side in sides)
    with np.errstate(invalid="ignore"):
        apart = np.abs(here - there)
    same = (here == there) | (np.isnan(here) & np.isnan(there))
    return np.where(same, 0.0, np.where(np.isnan(apart), math.inf, apart))


def excess(value: Value, committed: Value, tolerance: Tolerance) -> float:
    """How many times the tolerance the difference is: at most 1 is within it, infinity what can't be compared."""
    if value == committed or tolerance.follows:
        return 0.0
    apart = difference(value, committed)
    if apart is None:
        return math.inf
    limit = tolerance.limit(np.array(committed, np.float64).reshape(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(apart == 0, 0.0, apart / limit)  # a difference where none is allowed is infinitely too far
    return float(times.max(initial=0.0))
