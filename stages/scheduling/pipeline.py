"""What DVC knows of the pipeline: which stages there are, what each needs, and which are out of date."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from stages.common import files
from stages.scheduling.schedule import Graph

PIPELINE = "dvc.yaml"
HEAD = re.compile(r"schema: '2\.0'\nstages:\n(?=  \S)")


def open_repository() -> Any:
    """DVC's view of this folder, which waits for its lock as long as it takes.

    Nothing of DVC stays at work in this process, so that it may be forked.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would start a thread
    from dvc.repo import Repo

    return Repo(_wait_for_lock=True)


def changed(repo: Any, targets: Sequence[str], with_needs: bool = False) -> set[str]:
    """Which stages among these (names, or files that declare stages) are out of date, as things are."""
    return set(repo.status(targets=list(targets), with_deps=with_needs))


def graph(repo: Any, targets: Sequence[str]) -> Graph:
    """The stages among these and all that they need, each after what it needs and otherwise as they are declared."""
    from dvc.repo import lock_repo

    found: dict[str, list[str]] = {}

    def add(stage: Any) -> None:
        if stage.addressing in found:
            return
        needs = sorted(repo.index.graph.successors(stage), key=places.__getitem__)
        for need in needs:
            add(need)
        found[stage.addressing] = [need.addressing for need in needs]

    with lock_repo(repo):
        places = {stage: place for place, stage in enumerate(repo.index.stages)}
        for target in targets:
            for stage in repo.stage.collect(target):
                add(stage)
    return found


def sort_lock(lock: Path, names: Sequence[str]) -> None:
    """Put the stages of a `dvc.lock` into an order; those that are not named come last, as they were."""
    text = lock.read_text("utf-8") if lock.is_file() else ""
    head = HEAD.match(text)
    if not head:
        return
    entries = re.split(r"^(?=  \S)", text[head.end() :], flags=re.MULTILINE)[1:]
    places = {name: place for place, name in enumerate(names)}
    entries.sort(key=lambda entry: places.get(entry.split(":\n", 1)[0].strip(" '\""), len(places)))
    ordered = head[0] + "".join(entries)
    if ordered != text:
        files.write_text(lock, ordered)


def sort_locks(repo: Any, stages: Collection[str]) -> None:
    """Let each `dvc.lock` name its stages in the order in which they are declared.

    DVC adds what it records for the first time at the end, so that otherwise the order would be that in which stages
    happened to end. (DVC itself, which runs one at a time, takes any order in which each comes after what it needs.)

    Args:
        stages: some of those whose records may have changed.
    """
    from dvc.repo import lock_repo

    for declared in {name.rpartition(":")[0] or PIPELINE for name in stages}:
        with lock_repo(repo):
            names = [stage.name for stage in repo.stage.collect(declared)]
            sort_lock(Path(declared).with_suffix(".lock"), names)
