"""The weaker check, for machines on which the same bytes are not promised: metrics by rules, verdicts as words.

Another order of sums changes last digits. Results without a training keep their first five digits. Trainings drift
apart after some hundred updates, so that a model differs as one with another seed would. So metrics of trained models
may differ as much as seeds make them differ, and no verdict may change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from goldilocks.core import arithmetic, files
from goldilocks.core.dvc_files import Entry
from tools.verification.compare import Difference, in_clone, leaves


class Rule(NamedTuple):
    """How far numbers may lie from the committed ones: by the largest of the three, each 0 if it is left out."""

    fits: str
    """A pattern of `FILE: NAME`, FILE in `reports/metrics/`."""
    why: str
    relative: float = 0.0
    """To the committed number."""
    absolute: float = 0.0
    """In the number's unit."""
    widths: float = 0.0
    """In widths of the committed interval, of which the number is the estimate or an end."""


NOT_COMPARED = re.compile(
    r"logits\.json: (added_loss\..*\.by_seed\..*|most_inside\.step)|dynamics\.json: page_p.*|"
    r"claims\.json: .*survives?_bonferroni|headlines\.json: .*"
)
"""Of single models, the step of a maximum, or beside a limit; what they lead to is compared. And headlines, taken from
numbers that are compared."""

OF_TRAINED = r"(dynamics|logits)\.json: .*|claims\.json: (W\d|beyond_control\..*)"
RULES = (
    Rule(rf"({OF_TRAINED})\.value", "estimates over trained models moved by up to 1.1 widths", widths=2),
    Rule(rf"({OF_TRAINED})\.(low|high)", "intervals from five seeds vary: an end moved by up to 3.0 widths", widths=5),
    Rule(r"dynamics\.json: growth_of_std_by_.*", "means over trained models moved by up to 8 %", relative=0.2),
    Rule(r"layernorm\.json: model5\..*", "moved by up to 0.007, or 6 % of it", relative=0.15, absolute=0.02),
    Rule(r".*", "computed in one go: sums in another order keep five digits", relative=1e-5, absolute=1e-12),
)
"""The first rule that matches applies. Words and whole numbers must be equal.

The limits were measured at the default size: results made with AVX-512 were made again on an AMD EPYC with AVX2. Five
trainings on an NVIDIA H100 kept to these limits, with all verdicts the same, and showed that numbers of single models
can't be compared.
"""


def unpromised(parameters: Mapping[str, Any]) -> list[str]:
    """Why the same bytes are not promised for these parameters on this machine: a line each, none if they are."""
    run = parameters.get("run")
    native = isinstance(run, Mapping) and run.get("arithmetic") == "native"
    return ["run.arithmetic is native"] * native + arithmetic.unpromised()


def rule(path: str, name: str) -> Rule:
    """The rule for a number of a metrics file."""
    return next(one for one in RULES if re.fullmatch(one.fits, f"{path}: {name}"))


def limit(found: Rule, name: str, committed: Mapping[str, Any]) -> float:
    """How far a number may lie from the committed one."""
    stem = name.rpartition(".")[0]
    low, high = (committed.get(f"{stem}.{end}", 0.0) for end in ("low", "high"))
    return float(max(found.relative * abs(committed[name]), found.absolute, found.widths * (high - low)))


def of_file(path: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names of the metrics in a file that differ by more than they may, with how far, and what is allowed.

    Args:
        path: of the file in `reports/metrics/`.
        here: the metrics that were made again.
        there: the committed ones.
    """
    for name in {**there, **here}:
        if name not in here or name not in there:
            yield name, ""
            continue
        value, other = here[name], there[name]
        if NOT_COMPARED.fullmatch(f"{path}: {name}"):
            continue
        if isinstance(value, float) and isinstance(other, float):
            allowed, apart = limit(rule(path, name), name, there), abs(value - other)
            if not apart <= allowed * (1 + 1e-9):
                yield name, f"{apart:.3g}, allowed {allowed:.3g}"
        elif type(value) is not type(other) or value != other:
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
