"""Every output of a clone rebuilt and held against what is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.common import files
from stages.verification.compare import Class, Finding, Side, findings, judged, of_digest, of_file
from stages.verification.contents import below
from stages.verification.pipeline import DIGESTS, LOCK, METRICS, Recorded
from stages.verification.rebuild import Clone
from stages.verification.tolerances import Tolerances

ABLATIONS = "ablations"
ABLATIONS_LOCK = Path(ABLATIONS, "dvc.lock")
SUMMARY = "reports/ablations"


class Committed:
    """What is committed in a clone, read before anything in it is rebuilt.

    Args:
        stages: those to compare, all if empty.
    """

    def __init__(self, clone: Clone, stages: Sequence[str]) -> None:
        recorded = Recorded(clone.folder / LOCK)
        self.stages = [instance for name in stages for instance in recorded.group(name)] or list(recorded.stages)
        makers = {path: stage for path, stage in recorded.outputs().items() if stage in self.stages}
        makers.pop(str(DIGESTS), None)  # the data it describes are compared with it
        self.makers = makers
        digests = files.read_json(clone.folder / DIGESTS)
        self.sides = {path: of_digest(entry) for path, entry in digests.items()}
        for output in makers:
            if not output.startswith("data/"):
                self.add(clone, output)

    def add(self, clone: Clone, output: str) -> None:
        """Note the files of an output that is in git."""
        self.sides |= {
            path.relative_to(clone.folder).as_posix(): of_file(path) for path in below(clone.folder / output)
        }


def rebuild(clone: Clone, committed: Committed, partly: bool, commit: str) -> None:
    """Run what is to be compared: the stages with all they need, and of the ablations the summary and one training.

    Which training, the commit decides, so that over time each has its turn.
    """
    count = len(committed.stages)
    clone.rebuild(committed.stages if partly else ["dvc.yaml"], count)
    if partly:
        return
    trainings = list(Recorded(clone.folder / ABLATIONS_LOCK).stages)
    chosen = trainings[int(commit, 16) % len(trainings)]
    output = next(path for path, stage in Recorded(clone.folder / ABLATIONS_LOCK).outputs().items() if stage == chosen)
    for made, stage in ((output, chosen), (SUMMARY, "ablations")):
        committed.makers[made] = stage
        committed.add(clone, made)
    clone.rebuild([f"{ABLATIONS}/dvc.yaml:{chosen}"], 1, single=True)
    clone.run("python", "-m", "stages.ablations")


def compare(
    clone: Clone, committed: Committed, tolerances: Tolerances
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The outputs, each with its class, and every value in them, in the order of the pipeline."""
    rows, values = [], []
    for output, stage in committed.makers.items():
        here = {path.relative_to(clone.folder).as_posix(): of_file(path) for path in below(clone.folder / output)}
        there = {path: s for path, s in committed.sides.items() if path == output or path.startswith(f"{output}/")}
        row, found = _compared(output, here, there, tolerances)
        rows.append({"output": output, "stage": stage} | row)
        metric = output.startswith(METRICS)
        values += [finding.told() | {"of": output, "metric": metric} for finding in found]
    return rows, values


def _compared(
    output: str, here: Mapping[str, Side], there: Mapping[str, Side], tolerances: Tolerances
) -> tuple[dict[str, Any], list[Finding]]:
    everything: list[Finding] = []
    worst, note = (Class.IDENTICAL, "") if here or there else (Class.OFF, "no file of it")
    for path in sorted({*here, *there}):
        if path not in here or path not in there:
            worst, note = Class.OFF, f"{path}: {'not made again' if path in there else 'not committed'}"
            continue
        found = list(findings(path, here[path], there[path], tolerances))
        everything += found
        result = judged(here[path], there[path], found)
        if result > worst:
            far = max(found, key=lambda finding: (finding.result, finding.times), default=None)
            named = path.removeprefix(output).lstrip("/")
            worst, note = result, " ".join(filter(None, [named, far.name if far and far.result else ""]))
    return {
        "class": str(worst),
        "files": len({*here, *there}),
        "values": len(everything),
        "worst": note,
    }, everything
