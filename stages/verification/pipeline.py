"""What `dvc.yaml` and `dvc.lock` of a clone say: stages, their outputs, and the hashes recorded for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.common import cli, params

LOCK = Path("dvc.lock")
DIGESTS = Path("reports/digests.json")
METRICS = "reports/metrics/"


class Recorded:
    """The stages of a `dvc.lock` in their order, with what was recorded of each.

    Raises:
        UserError: if the file can't be read as one.
    """

    def __init__(self, lock: Path) -> None:
        self.path = lock
        stages = params.read(lock).get("stages")
        if not isinstance(stages, dict):
            raise cli.UserError(f"{lock}: names no stages; run make repro and commit it")
        self.stages: dict[str, dict[str, Any]] = stages

    def outputs(self) -> dict[str, str]:
        """The stage that makes each output, by the output's path."""
        return {entry["path"]: stage for stage, of in self.stages.items() for entry in of.get("outs", [])}

    def makers_of(self, stage: str) -> set[str]:
        """The stages whose outputs a stage reads, or something in one, or around it."""
        paths = [Path(entry["path"]) for entry in self.stages[stage].get("deps", [])]
        made = [(Path(path), maker) for path, maker in self.outputs().items()]
        return {
            maker
            for output, maker in made
            for path in paths
            if path.is_relative_to(output) or output.is_relative_to(path)
        } - {stage}

    def needed(self, stages: Sequence[str]) -> list[str]:
        """Stages and all that they need, directly or not, in the order of the file."""
        found = list(stages)
        for stage in found:  # grows on the way
            found += [maker for maker in self.makers_of(stage) if maker not in found]
        return [stage for stage in self.stages if stage in found]

    def hashes(self, kind: str) -> list[tuple[str, str, str]]:
        """Stage, path and MD5 of every entry under `deps` or `outs`."""
        return [(s, entry["path"], entry["md5"]) for s, of in self.stages.items() for entry in of.get(kind, [])]

    def group(self, name: str) -> list[str]:
        """The stages a name stands for: itself, or its instances if it is a matrix.

        Raises:
            UserError: if there is no such stage.
        """
        found = [stage for stage in self.stages if stage == name or stage.split("@")[0] == name]
        if not found:
            known = ", ".join(dict.fromkeys(stage.split("@")[0] for stage in self.stages))
            raise cli.UserError(f"--stages: no stage {name!r}; there are: {known}")
        return found
