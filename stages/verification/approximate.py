"""The weaker check, for machines on which the same bytes are not promised: metrics by rules, verdicts as words.

Another order of sums changes a last digit. What is computed in one go keeps its first five; a training takes another
course after some hundred updates, so that a model differs as one with another seed would. Therefore what is said of
trained models may move as far as seeds move it, and no verdict may change.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stages.common import arithmetic, files
from stages.verification.compare import Difference, in_clone, leaves
from stages.verification.dvc_files import Entry


class Rule(NamedTuple):
    """How far numbers may lie from the committed ones: by the largest of three, each 0 if it is left out."""

    metrics: str
    """A pattern of files in `reports/metrics/`."""
    names: str
    """A pattern of names."""
    why: str
    relative: float = 0.0
    """To the committed number."""
    absolute: float = 0.0
    """In the number's unit."""
    widths: float = 0.0
    """In widths of the interval that the number is the estimate or an end of."""


RULES: tuple[Rule, ...] = ()
"""The first that fits a number holds. What none fits must be equal, and so must all words and whole numbers."""


def unpromised(parameters: Mapping[str, Any]) -> list[str]:
    """Why the same bytes are not promised for these parameters on this machine: a line each, none if they are."""
    kind = parameters.get("run", {}).get("arithmetic", "portable")
    device = parameters.get("train", {}).get("device", "cpu")
    found = []
    if kind != "portable":
        found.append(f"run.arithmetic is {kind}: the same bytes are promised for portable")
    if device != "cpu":
        found.append(f"train.device is {device}: the same bytes are promised for cpu")
    return found + arithmetic.unpromised()


def rule(path: str, name: str) -> Rule | None:
    """The rule for a number of a metrics file."""
    fit = (one for one in RULES if fnmatch.fnmatchcase(path, one.metrics) and fnmatch.fnmatchcase(name, one.names))
    return next(fit, None)


def limit(path: str, name: str, committed: Mapping[str, Any]) -> float:
    """How far a number of a metrics file may lie from the committed one."""
    found, stem = rule(path, name), name.rpartition(".")[0]
    if found is None:
        return 0.0
    low, high = (committed.get(f"{stem}.{end}", 0.0) for end in ("low", "high"))
    return float(max(found.relative * abs(committed[name]), found.absolute, found.widths * (high - low)))


def of_file(path: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The names of the metrics in a file that differ by more than they may, with how far, and what is allowed.

    Args:
        path: of the file in `reports/metrics/`.
        here: the metrics that were made again.
        there: the committed ones.
    """
    for name in {**there, **here}:
        value, other = here.get(name), there.get(name)
        if isinstance(value, float) and isinstance(other, float):
            allowed, apart = limit(path, name, there), abs(value - other)
            if not apart <= allowed * (1 + 1e-9):
                yield name, f"{apart:.3g}, allowed {allowed:.3g}"
        elif name not in here or name not in there or type(value) is not type(other) or value != other:
            yield name, ""


def differences(made: Iterable[Entry], rebuilt: Path, committed: Path) -> tuple[int, list[Difference]]:
    """How many metrics were compared, and those that differ by more than they may.

    Args:
        made: all outputs that were made again.
        rebuilt: the clone that they were made in.
        committed: a clone that nothing was made in.
    """
    count, found = 0, []
    for out in made:
        if not Path(out.path).is_relative_to(files.METRICS):
            continue
        sides = [in_clone(folder, out.path) for folder in (rebuilt, committed)]
        for inside in sorted({*sides[0], *sides[1]}):
            here, there = (dict(leaves(files.read_json(side[inside].path))) if inside in side else {} for side in sides)
            path = (Path(out.path) / inside).as_posix()
            count += len(there)
            for name, by in of_file(path.removeprefix(f"{files.METRICS}/"), here, there):
                found.append(Difference(path, out.stage, name, f"{here.get(name, '–')}", f"{there.get(name, '–')}", by))
    return count, found
