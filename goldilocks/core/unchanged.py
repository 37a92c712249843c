"""Refuse the result of a stage if its dependencies or parameters change while it runs.

DVC hashes the dependencies and the parameters of a stage after its command. An edit during the run would therefore be
recorded as the source of the result, and nothing would run the stage again. So a stage that DVC runs
compares its dependencies at the end with what they were at the start, and refuses its own result if they differ. DVC
then records nothing, and the next `repro` runs the stage again.

Files are compared by inode, size and time, which takes milliseconds however large they are. Code is compared with what
it was before Python loaded it: `stages/__init__.py` imports this module before any other.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PIPELINE = "dvc.yaml"
PARAMS = Path("params.yaml")
CODE = ("goldilocks", "stages", "tools")

Marks = dict[str, tuple[int, int, int]]


def _below(path: Path) -> Iterator[Path]:
    """A file, or each file below a folder, without the compiled modules that Python writes."""
    if not path.is_dir():
        yield path
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder, name) for name in names)


def marks(paths: Iterable[str], root: Path = Path()) -> Marks:
    """Inode, size and time of each file at or below the paths, which are absolute or relative to `root`."""
    found = {}
    for path in (each for start in paths for each in _below(root / start)):
        with suppress(OSError):
            now = path.stat()
            name = path.relative_to(root) if path.is_relative_to(root) else path
            found[name.as_posix()] = (now.st_ino, now.st_size, now.st_mtime_ns)
    return found


_PROJECT = Path(__file__).parents[2]
_LOADED = marks(CODE, _PROJECT)


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def differing(before: Marks, now: Marks) -> list[str]:
    """The files that changed, appeared or disappeared, without those that DVC ignores."""
    found = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    if not found:
        return []
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    ignores = DvcIgnoreFilter(localfs, str(Path.cwd()))
    return [path for path in found if not ignores.is_ignored_file(str(Path(path).absolute()))]


def changed_code(paths: Iterable[str]) -> list[str]:
    """Those of these files that are code and changed since this process loaded it."""
    paths = [path for path in paths if _within(path, CODE)]
    return differing({path: mark for path, mark in _LOADED.items() if _within(path, paths)}, marks(paths, _PROJECT))


def entry(contents: Any, keys: str) -> Any:
    """The entry of nested mappings and lists that `run.seeds` or `run.seeds[0]` names; None if there is none."""
    for key in re.findall(r"\w+", keys):
        try:
            contents = contents[int(key) if isinstance(contents, list) else key]
        except (LookupError, TypeError, ValueError):
            return None
    return contents


def _parsed(contents: bytes) -> Any:
    """The contents of a YAML file; None if it is not YAML, for example while somebody is writing it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(contents.decode())
    except (YAMLError, ValueError):
        return None


def definition(stage: str) -> dict[str, Any]:
    """A stage's entry in `dvc.yaml` or in that of a folder; DVC's name may be `ablations/dvc.yaml:ablate@scaled-0`."""
    name = stage.split("@")[0].rpartition(":")[2]
    for path in (Path(PIPELINE), *sorted(Path().glob(f"*/{PIPELINE}"))):
        stages: dict[str, dict[str, Any]] = entry(_parsed(path.read_bytes()), "stages") or {}
        if name in stages:
            return stages[name]
    return {}


def item(matrix: dict[str, Any], instance: str, params: Any) -> dict[str, Any]:
    """The matrix values that DVC joined with `-` into an instance's name; none if there is no such instance.

    Args:
        matrix: as in `dvc.yaml`: lists, or `${names}` of parameters that are lists.
        params: the contents of `params.yaml`.
    """
    choices = [entry(params, values[2:-1]) if isinstance(values, str) else values for values in matrix.values()]
    for values in itertools.product(*choices):
        if "-".join(map(str, values)) == instance:
            return dict(zip(matrix, values, strict=True))
    return {}


def sources(stage: str) -> list[Path]:
    """The modules that `dvc.yaml` names as a stage's code, in order, relative to the project's folder."""
    named = [Path(path) for path in definition(stage).get("deps", []) if _within(path, CODE)]
    return sorted(path for start in named for path in _below(start) if path.suffix == ".py")


class MadeFrom:
    """The dependencies and parameters of a stage, as they are now.

    Args:
        stage: its name, as in DVC's variable DVC_STAGE.
    """

    def __init__(self, stage: str) -> None:
        declared = definition(stage)
        self.stage = stage
        self.keys: list[str] = declared.get("params", [])
        self.params = PARAMS.read_bytes()
        self.paths = list(self._resolved(declared.get("deps", []), declared.get("matrix", {})))
        self.before = marks(path for path in self.paths if not _within(path, CODE))
        self.before |= {path: mark for path, mark in _LOADED.items() if _within(path, self.paths)}

    def _resolved(self, paths: list[str], matrix: dict[str, Any]) -> Iterator[str]:
        """Paths with the parameters and matrix items that they name filled in."""
        values: dict[str, Any] = {}
        if any("$" in path for path in paths):
            values = _parsed(self.params)
            values["item"] = item(matrix, self.stage.partition("@")[2], values)
        for path in paths:
            yield re.sub(r"\$\{([\w.\[\]]+)\}", lambda match: str(entry(values, match[1])), path).removesuffix("/")

    def _changed_params(self) -> list[str]:
        now = PARAMS.read_bytes()
        if not self.keys or now == self.params:
            return []
        before, after = _parsed(self.params), _parsed(now)
        return [f"{PARAMS}: {key}" for key in self.keys if entry(before, key) != entry(after, key)]

    def changed(self) -> list[str]:
        """The dependencies and parameters that have changed."""
        return differing(self.before, marks(self.paths)) + self._changed_params()


def begun() -> MadeFrom | None:
    """The dependencies of the stage that DVC started this process for; None in any other process.

    The workers of a training check nothing, since their parent process does.
    """
    stage = os.environ.get("DVC_STAGE")
    return MadeFrom(stage) if stage and "TORCHELASTIC_RUN_ID" not in os.environ else None
