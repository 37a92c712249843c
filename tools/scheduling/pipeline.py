"""DVC's view of the pipeline: its stages, what each needs, which are out of date; and how it runs one of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goldilocks.core import cli, dvc_files

PROJECT = Path()
"""The folder of the pipeline's DVC repository."""

ABLATIONS = Path("ablations")
"""That of the ablations', which `make repro` does not read."""

RUNNING = "Running stage '%s':"
RESTORED = "Stage '%s' is cached - skipping run, checking out outputs"

Graph = Mapping[str, Collection[str]]
"""The names of stages, each after all that it needs, and what it needs directly."""


@contextmanager
def open_repository(root: Path = PROJECT) -> Iterator[Any]:
    """DVC's view of a repository, which waits for its lock as long as it takes.

    Nothing of DVC stays at work in this process, so that it may be forked.

    Raises:
        UserError: for what DVC refuses, such as a configuration that it can't read.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would start a thread
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        raise cli.UserError(f"DVC: {error}") from None


def cache_folder() -> Path:
    """The folder of DVC's cache."""
    with open_repository() as repo:
        return Path(repo.cache.local_cache_dir)


def changed(repo: Any, names: Collection[str] = ()) -> set[str]:
    """Which of these stages are out of date now; of all that the repository declares if none is named."""
    from dvc.repo import lock_repo

    with lock_repo(repo):
        stages = [stage for stage in repo.index.stages if stage.addressing in names] if names else _declared(repo)
        return {stage.addressing for stage in stages if stage.status()}


def graph(repo: Any, targets: Sequence[str] = ()) -> Graph:
    """These stages, all if none is named, and what they need, in the order in which they are declared."""
    import networkx  # type: ignore[import-untyped]
    from dvc.repo import lock_repo

    with lock_repo(repo):
        needs, places = repo.index.graph, {stage: place for place, stage in enumerate(repo.index.stages)}
        asked = [stage for target in targets for stage in repo.stage.collect(target)] or _declared(repo)
        wanted = set(asked).union(*(networkx.descendants(needs, stage) for stage in asked))
        ordered = networkx.lexicographical_topological_sort(needs.subgraph(wanted).reverse(), places.__getitem__)
        return {stage.addressing: [need.addressing for need in needs.successors(stage)] for stage in ordered}


def _declared(repo: Any) -> list[Any]:
    """The stages of a repository's own `dvc.yaml`, in their order."""
    return [stage for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"]


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message of DVC's is of interest: warnings, and what it does with the stage."""
    return record.levelno >= logging.WARNING or record.msg in (RUNNING, RESTORED)


def reproduce(root: Path, stage: str, force: bool) -> str:
    """What `dvc repro --single-item STAGE` does in a repository; returns why it failed, or nothing."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for handler in logging.getLogger("dvc").handlers:
        handler.addFilter(_is_news)
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            repo.reproduce(stage, single_item=True, force=force, run_cache=not force)
    except DvcException as error:
        causes: list[BaseException | None] = [error]
        while causes[-1]:
            causes.append(causes[-1].__cause__)
        return ": ".join(filter(None, map(str, causes[:-1]))) or type(error).__name__
    return ""


def sort_lock(lock: Path, names: Sequence[str]) -> None:
    """Put the stages of a `dvc.lock` into the order in which they are declared; drop what is no longer declared.

    Instances of a declared stage that its matrix does not name now come last, so that a seed or a condition that comes
    back is not trained again.
    """
    stages = {name.split("@")[0] for name in names}
    recorded = dvc_files.blocks(lock.read_text("utf-8")) if lock.is_file() else {}
    other = [name for name in recorded if name not in names and name.split("@")[0] in stages]
    dvc_files.keep_only(lock, [*names, *other])


def sort_lock_of(repo: Any, root: Path) -> None:
    """Sort a repository's `dvc.lock`; see `sort_lock`.

    DVC appends a stage that it records for the first time, so the order would otherwise be that in which stages ended.
    """
    from dvc.repo import lock_repo

    with lock_repo(repo):
        sort_lock(root / dvc_files.LOCK, [stage.name for stage in _declared(repo)])
