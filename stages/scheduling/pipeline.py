"""What DVC knows of the pipeline: which stages there are, what each needs, and which are out of date."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from stages.common import files
from stages.scheduling.schedule import Graph, short_name

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
    """The stages among these and all that they need, in the order in which `dvc repro` runs them."""
    from dvc.repo import lock_repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    with lock_repo(repo):
        whole = get_active_graph(repo.index.graph)
        planned = plan_repro(whole, collect_stages(repo, targets))
        return {stage.addressing: {need.addressing for need in whole.successors(stage)} for stage in planned}


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
    """Put the `dvc.lock` beside each file that declares some of these stages into the order that DVC gives a new one.

    DVC adds what it records for the first time at the end, so that otherwise the order would be that in which stages
    happened to end.
    """
    from dvc.repo import lock_repo

    with lock_repo(repo):
        for declared in {name.rpartition(":")[0] or PIPELINE for name in stages}:
            sort_lock(Path(declared).with_suffix(".lock"), [short_name(name) for name in graph(repo, [declared])])
