"""Does what is committed belong together? Proved without rebuilding, from hashes alone.

DVC compares code, parameters and reports with `dvc.lock`; what is not in git is followed through the hashes: each
dependency is the output recorded for the stage that makes it, and `reports/digests.json` describes that very output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.common import files
from stages.verification.contents import below, md5, md5_of_folder
from stages.verification.pipeline import DIGESTS, LOCK, Recorded
from stages.verification.rebuild import Clone

REPORTS = Path("reports")
KEPT = REPORTS / "paper"
ABLATIONS = REPORTS / "ablations"  # written by a command and not by a stage; a rebuild compares them
RENAMED = {REPORTS / "index.html"}  # of a kept run: where it names its inputs' folder, their hash stands instead
NOT_IN_GIT = {"deleted", "not in cache"}


def problems(clone: Clone) -> list[str]:
    """A line for each thing in a clone that is not what was recorded with it; empty if it all belongs together."""
    recorded = Recorded(clone.folder / LOCK)
    digests = files.read_json(clone.folder / DIGESTS) if (clone.folder / DIGESTS).is_file() else {}
    tracked = clone.run("git", "ls-files", "-z").split("\0")
    return [
        *differing(json.loads(clone.run("dvc", "status", "--json"))),
        *broken_links(recorded),
        *undescribed(recorded, digests),
        *unclaimed(recorded, tracked),
        *changed_since_kept(clone.folder / KEPT),
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
        if not path.is_relative_to(REPORTS) or path.is_relative_to(KEPT) or path.is_relative_to(ABLATIONS):
            continue
        if not any(str(parent) in made for parent in (path, *path.parents)):
            yield f"{name}: committed, and no stage makes it"


def changed_since_kept(kept: Path) -> Iterator[str]:
    """Files of the kept run that its own `dvc.lock` has another hash of."""
    if not (kept / LOCK).is_file():
        return
    for stage, name, value in Recorded(kept / LOCK).hashes("outs"):
        path = Path(name)
        if path in RENAMED or not (path.is_relative_to(REPORTS) or path.suffix == ".parquet"):
            continue
        place = (
            kept / path.relative_to(REPORTS)
            if path.is_relative_to(REPORTS)
            else kept / "tables" / Path(*path.parts[1:])
        )
        found = {file.relative_to(place).as_posix(): md5(file) for file in below(place)} if place.is_dir() else None
        if not place.exists():
            yield f"{place.relative_to(kept.parents[1])}: missing; {stage} of the kept run made it"
        elif (md5_of_folder(found) if found is not None else md5(place)) != value:
            yield f"{place.relative_to(kept.parents[1])}: not what {stage} of the kept run made"
