"""DVC's view of the pipeline: its stages, what each needs, and which are out of date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goldilocks.core import cli, dvc_files
from tools.scheduling.schedule import Graph

PROJECT = Path()
"""The folder of the pipeline's DVC repository."""

ABLATIONS = Path("ablations")
"""That of the ablations', which `make repro` does not read."""


def declared(root: Path) -> str:
    """The file that declares the stages of a repository, as their names begin if it is not this folder's."""
    return (root / "dvc.yaml").as_posix()


def open_repository(root: Path = PROJECT) -> Any:
    """DVC's view of a repository, which waits for its lock as long as it takes.

    Nothing of DVC stays at work in this process, so that it may be forked.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would start a thread
    from dvc.repo import Repo

    return Repo(str(root), _wait_for_lock=True)


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Turn what DVC refuses, such as a configuration that it can't read, into a `UserError`."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise cli.UserError(f"DVC: {error}") from None


def cache_folder() -> Path:
    """The folder of DVC's cache.

    Raises:
        UserError: if DVC can't read its configuration.
    """
    with errors_in_a_line(), open_repository() as repo:
        return Path(repo.cache.local_cache_dir)


def changed(repo: Any, targets: Sequence[str], with_needs: bool = False) -> set[str]:
    """Which stages among these (names, or files that declare stages) are out of date now."""
    return set(repo.status(targets=list(targets), with_deps=with_needs))


def changed_now(repo: Any, names: Sequence[str]) -> set[str]:
    """Which of these stages are out of date now. Reads a `dvc.lock` once, where `changed` reads it for each name."""
    from dvc.repo import lock_repo

    with lock_repo(repo):
        stages = {stage.addressing: stage for stage in repo.index.stages}
        return {name for name in names if stages[name].status()}


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
        sort_lock(root / dvc_files.LOCK, [stage.name for stage in repo.stage.collect(declared(root))])
