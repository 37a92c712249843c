"""What `dvc.yaml` and `dvc.lock` of a clone say: stages, what they need and make, and the hashes recorded for both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common import cli, params

LOCK = Path("dvc.lock")
DIGESTS = Path("reports/digests.json")
METRICS = "reports/metrics/"


def meet(one: Path, other: Path) -> bool:
    """Whether two paths are one, or one lies in the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline, its parameters put in place."""

    name: str
    folder: Path
    arguments: list[str]
    sections: list[str]
    dependencies: list[Path]
    outputs: list[Path]

    @property
    def group(self) -> str:
        """Its name without the instance of a matrix."""
        return self.name.split("@")[0]

    def declares(self, key: str) -> bool:
        """Whether it is given a parameter, alone or with its whole section."""
        return key in self.sections or key.split(".")[0] in self.sections

    def needs(self, other: Stage) -> bool:
        """Whether it depends on an output of another stage, or something in one, or around it."""
        return any(meet(one, made) for one in self.dependencies for made in other.outputs)


def stages_here() -> list[Stage]:
    """Every stage of the pipeline and the ablations in this folder, as DVC sees them, each after what it needs."""
    from dvc.repo import Repo

    here, found = Path.cwd(), []
    with Repo() as repo:
        stages = list(repo.index.stages)
        for stage in sorted(stages, key=lambda stage: str(stage.wdir) != str(here)):
            words = stage.cmd.split()
            found.append(
                Stage(
                    name=stage.name,
                    folder=Path(stage.wdir).relative_to(here),
                    arguments=words[words.index("-m") + 1 :],
                    sections=[key for dependency in stage.deps for key in getattr(dependency, "params", [])],
                    dependencies=[Path(os.path.relpath(dependency.fs_path, here)) for dependency in stage.deps],
                    outputs=[Path(out.fs_path).relative_to(here) for out in stage.outs],
                )
            )
    return found


class Recorded:
    """The stages of a `dvc.lock` in their order, with what was recorded of each.

    Raises:
        UserError: if the file can't be read as one.
    """

    def __init__(self, lock: Path) -> None:
        self.path = lock
        stages = params.read(lock, largest=2**24).get("stages")
        if not isinstance(stages, dict):
            raise cli.UserError(f"{lock}: names no stages; run make repro and commit it")
        self.stages: dict[str, dict[str, Any]] = stages

    def outputs(self) -> dict[str, str]:
        """The stage that makes each output, by the output's path."""
        return {path: stage for stage, path, _ in self.hashes("outs")}

    def makers_of(self, stage: str) -> set[str]:
        """The stages whose outputs a stage reads, or something in one, or around it."""
        paths = [Path(entry["path"]) for entry in self.stages[stage].get("deps", [])]
        made = self.outputs().items()
        return {maker for output, maker in made if any(meet(Path(output), path) for path in paths)} - {stage}

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
