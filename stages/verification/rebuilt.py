"""Every output of a clone rebuilt and held against what is committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.common import files
from stages.common.sealed import SUMS
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
        stages: those to verify, all if empty; what they need is rebuilt too.
    """

    def __init__(self, clone: Clone, stages: Sequence[str]) -> None:
        self.recorded = Recorded(clone.folder / LOCK)
        self.asked = [instance for name in stages for instance in self.recorded.group(name)]
        self.rebuilt = self.recorded.needed(self.asked) if stages else list(self.recorded.stages)
        self.outputs: dict[str, list[str]] = {stage: [] for stage in self.rebuilt}
        for output, stage in self.recorded.outputs().items():
            if stage in self.outputs and output != str(DIGESTS):  # the data it describes are compared with it
                self.outputs[stage].append(output)
        self.sources = {stage: self.recorded.makers_of(stage) for stage in self.rebuilt}
        self.sides = {path: of_digest(entry) for path, entry in files.read_json(clone.folder / DIGESTS).items()}
        for output in [output for outputs in self.outputs.values() for output in outputs]:
            if not output.startswith("data/"):
                self.note(clone, output)

    def note(self, clone: Clone, output: str) -> None:
        """Remember the files of an output that is in git."""
        self.sides |= _files(clone, output)

    def add(self, clone: Clone, stage: str, output: str, sources: set[str]) -> None:
        """One more stage to compare, whose output is in git."""
        self.outputs[stage], self.sources[stage] = [output], sources
        self.note(clone, output)


def _files(clone: Clone, output: str) -> dict[str, Side]:
    """The files of an output but the one with their hashes: they are compared themselves."""
    paths = [path for path in below(clone.folder / output) if path.name != SUMS]
    return {path.relative_to(clone.folder).as_posix(): of_file(path) for path in paths}


def rebuild(clone: Clone, committed: Committed, commit: str | None) -> None:
    """Run what is to be compared: the stages asked for with all they need; if none are, all stages and some ablations.

    Of the ablations these are the summary and one training; which one, the commit decides, so that over time each has
    its turn. Without a commit there are none: with other parameters one can't stand beside the others.
    """
    clone.rebuild(committed.asked or ["dvc.yaml"], len(committed.rebuilt))
    if committed.asked or commit is None:
        return
    trainings = Recorded(clone.folder / ABLATIONS_LOCK)
    chosen = list(trainings.stages)[int(commit, 16) % len(trainings.stages)]
    output = next(path for path, stage in trainings.outputs().items() if stage == chosen)
    committed.add(clone, "ablations", SUMMARY, set())
    committed.add(clone, chosen, output, {"tokens"})
    clone.run("python", "-m", "stages.ablations")  # of the trainings that are committed
    clone.rebuild([f"{ABLATIONS}/dvc.yaml:{chosen}"], 1, single=True)


def compare(
    clone: Clone, committed: Committed, tolerances: Tolerances
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The outputs, each with its class, and every value in them, in the order of the pipeline."""
    rows, values = [], []
    differs: set[str] = set()
    for stage, outputs in committed.outputs.items():
        compared = {output: _sides(clone, committed, output) for output in outputs}
        pairs = {path: both for own in compared.values() for path, both in own.both.items()}
        found = {path: list(findings(path, *both, tolerances)) for path, both in pairs.items()}
        others = [finding for own in found.values() for finding in own if not finding.follows]
        if committed.sources[stage] & differs or any(finding.result for finding in others):
            differs.add(stage)
        else:
            found = {path: [finding.alone() for finding in own] for path, own in found.items()}
        if committed.asked and stage not in committed.asked:
            continue
        for output, own in compared.items():
            rows.append({"output": output, "stage": stage} | _row(output, own, found))
            metric = output.startswith(METRICS)
            values += [
                finding.told() | {"of": output, "metric": metric} for path in own.both for finding in found[path]
            ]
    return rows, values


class _Sides(NamedTuple):
    """The files of an output: those on both sides, and those on one."""

    both: dict[str, tuple[Side, Side]]
    missing: list[str]
    new: list[str]


def _sides(clone: Clone, committed: Committed, output: str) -> _Sides:
    here = _files(clone, output)
    there = {path: side for path, side in committed.sides.items() if path == output or path.startswith(f"{output}/")}
    both = {path: (here[path], there[path]) for path in here if path in there}
    return _Sides(both, sorted(set(there) - set(here)), sorted(set(here) - set(there)))


def _row(output: str, own: _Sides, found: Mapping[str, list[Finding]]) -> dict[str, Any]:
    count = len(own.both) + len(own.missing) + len(own.new)
    values = sum(len(found[path]) for path in own.both)
    lost = [f"{path}: not made again" for path in own.missing] + [f"{path}: not committed" for path in own.new]
    if lost or not count:
        return {
            "class": str(Class.OFF),
            "files": count,
            "values": values,
            "worst": lost[0] if lost else "no file of it",
        }
    results = {path: judged(*sides, found[path]) for path, sides in own.both.items()}
    worst = max(results, key=lambda path: results[path])
    note = ""
    if results[worst]:
        far = max(found[worst], key=lambda finding: (finding.result, finding.times), default=None)
        named = worst.removeprefix(output).lstrip("/")
        note = " ".join(filter(None, [named, far.name if far and far.result else ""]))
    return {"class": str(results[worst]), "files": count, "values": values, "worst": note}
