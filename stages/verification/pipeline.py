"""What `dvc.yaml` and `dvc.lock` of a clone say: stages, their outputs, and the hashes recorded for both."""

from __future__ import annotations

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
