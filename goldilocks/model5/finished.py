"""Remove the checkpoints of trainings that DVC has recorded, and no others.

When a training ends, DVC has yet to store its outputs and to write `dvc.lock`. A kill in between must not cost the
training, so its last checkpoint stays until both are done.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from goldilocks.core import dvc_files, files

CHECKPOINTS = files.DATA / "checkpoints"
OUTPUTS = "outputs.json"


def record_outputs(training: Path, outputs: Iterable[Path]) -> None:
    """Record the hashes of a training's outputs in its folder of checkpoints."""
    files.write_json(training / OUTPUTS, {path.as_posix(): dvc_files.md5(path) for path in outputs})


def _noted(path: Path) -> set[str]:
    """The hashes that `record_outputs` wrote; none if they can't be read."""
    try:
        return set(files.read_json(path).values())
    except (ValueError, AttributeError, TypeError):
        return set()


def _in_cache(hashes: Iterable[str]) -> bool:
    """Whether DVC's cache holds all of these outputs."""
    from dvc.repo import Repo

    with Repo() as repo:
        cache = Path(repo.cache.local.path)
    return all((cache / md5[:2] / md5[2:]).is_file() for md5 in hashes)


def prune() -> list[Path]:
    """Remove the checkpoints of every training whose outputs are in `dvc.lock` and in DVC's cache.

    Trainings that begin at once may all remove the same files.
    """
    noted = {path.parent: hashes for path in CHECKPOINTS.glob(f"seed-*/{OUTPUTS}") if (hashes := _noted(path))}
    if not noted or not dvc_files.LOCK.is_file():
        return []
    recorded = dvc_files.hashes(dvc_files.LOCK.read_text("utf-8"))
    gone = [folder for folder, hashes in sorted(noted.items()) if hashes <= recorded and _in_cache(hashes)]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return gone


def unfinished() -> list[tuple[Path, int]]:
    """The trainings whose checkpoints are still there, with their size in bytes."""
    return [
        (folder, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
        for folder in sorted(CHECKPOINTS.glob("seed-*-*"))
    ]
