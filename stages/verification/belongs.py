"""Does what is committed belong together? Proved without rebuilding, from hashes alone.

DVC compares code, parameters and reports with `dvc.lock`; what is not in git is followed through the hashes: each
dependency is the output recorded for the stage that makes it, and `reports/digests.json` describes that very output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.check import BUILT_ON
from stages.common import files, sealed
from stages.verification.contents import md5_of_folder
from stages.verification.pipeline import DIGESTS, LOCK, Recorded
from stages.verification.rebuild import Clone

REPORTS = Path("reports")
NOT_IN_GIT = {"deleted", "not in cache"}


def problems(clone: Clone, stages: Sequence[str] = ()) -> list[str]:
    """A line for each thing in a clone that is not what was recorded with it; empty if it all belongs together.

    Args:
        stages: those to ask DVC about; all, and the ablations, if empty.
    """
    recorded = Recorded(clone.folder / LOCK)
    digests = files.read_json(clone.folder / DIGESTS) if (clone.folder / DIGESTS).is_file() else {}
    status = json.loads(clone.run("dvc", "status", "--json", *(["dvc.yaml"] if stages else [])))
    if stages:
        status = {stage: changes for stage, changes in status.items() if stage in stages}
    tracked = clone.run("git", "ls-files", "-z").split("\0")
    return [
        *differing(status),
        *broken_links(recorded),
        *undescribed(recorded, digests),
        *unclaimed(recorded, tracked),
        *broken_seals(clone.folder),
    ]


def differing(status: Mapping[str, list[Any]]) -> Iterator[str]:
    """What DVC finds changed; data that is just not here, as it is not in git, is no change."""
    for stage, changes in status.items():
        for change in changes:
            if isinstance(change, str):
                yield f"{stage}: {change} since dvc.lock was written"
                continue
            for kind, paths in change.items():
                for path, what in (paths or {"": "changed"}).items():
                    if isinstance(what, dict):
                        yield from (
                            f"{stage}: {path}: {key} is {state}, dvc.lock has another" for key, state in what.items()
                        )
                    elif not (what in NOT_IN_GIT and path.startswith("data/")):
                        yield f"{stage}: {kind}: {path} {what} since dvc.lock was written"


def _hash(path: str, hashes: Mapping[str, str]) -> str | None:
    """The MD5 of an output, a file in one, or a folder of several, from those of the files."""
    if path in hashes:
        return hashes[path]
    inside = {name.removeprefix(f"{path}/"): value for name, value in hashes.items() if name.startswith(f"{path}/")}
    return md5_of_folder(inside) if inside else None


def broken_links(recorded: Recorded) -> Iterator[str]:
    """Dependencies recorded with another hash than the output they are."""
    made = {path: (stage, value) for stage, path, value in recorded.hashes("outs")}
    for stage, path, value in recorded.hashes("deps"):
        if path in made and made[path][1] != value:
            yield f"{stage}: was made from another {path} than {made[path][0]} made; dvc.lock joins two runs"


def undescribed(recorded: Recorded, digests: Mapping[str, Any]) -> Iterator[str]:
    """Data whose description in `reports/digests.json` is of other bytes."""
    hashes = {path: entry["md5"] for path, entry in digests.items()}
    for kind in ("outs", "deps"):
        for stage, path, value in recorded.hashes(kind):
            if path.startswith("data/") and _hash(path, hashes) != value:
                yield f"{stage}: {DIGESTS} describes another {path} than {recorded.path.name} records"


def unclaimed(recorded: Recorded, tracked: list[str]) -> Iterator[str]:
    """Committed files under `reports/` that no stage makes."""
    made = recorded.outputs()
    for name in tracked:
        path = Path(name)
        if not path.is_relative_to(REPORTS) or any(path.is_relative_to(folder) for folder in BUILT_ON):
            continue
        if not any(str(parent) in made for parent in (path, *path.parents)):
            yield f"{name}: committed, and no stage makes it"


def broken_seals(root: Path) -> Iterator[str]:
    """Files of sealed folders that are not what was sealed."""
    for folder in BUILT_ON:
        yield from (problem.replace(f"{root}/", "") for problem in sealed.problems(root / folder))
