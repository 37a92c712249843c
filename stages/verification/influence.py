"""Does every parameter and every seed do something? A result that ignores what it was asked for reproduces very well.

At the size of the preset `smoke` every stage runs once; then, for each parameter in turn, the stages that declare it
run again with another value. Some result must differ: not only one that is the value itself, repeated. Stages run in
forks of one process, which has imported everything once.

A command of its own, that runs in a clone: python -m stages.verification.influence [STAGE ...]
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages import check, configure
from stages.common import cli, files, params
from stages.common.progress import Progress
from stages.verification.changes import INFLUENTIAL, NEUTRAL, PASSED_ON, UNTRIED
from stages.verification.contents import DATA, Contents, below, contents
from stages.verification.pipeline import Stage, stages_here
from stages.verification.rebuild import Clone

SMALL = [
    "run.seeds=[0,1]", "run.threads=1", "train.device=cpu", "train.precision=fp32", "train.compile=false",
    "train.processes=1", "train.accumulate=1", "layernorm.gamma_to=1.0",  # of γ near 1 some lie in the range
]  # fmt: skip
AT_ONCE = 2


def run(stage: Stage, folder: Path) -> str:
    """Run a stage in a copy of the project; returns its last line if it failed, else nothing. Only in a fork."""
    log = folder / "influence.log"
    os.chdir(folder / stage.folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    sys.argv = stage.arguments
    try:
        cli.run(importlib.import_module(stage.arguments[0]).main)
    except SystemExit as stop:
        if stop.code:
            return log.read_text("utf-8", "replace").strip().splitlines()[-1] if log.stat().st_size else "it failed"
    finally:
        os.chdir(folder)
    return ""


def in_forks(jobs: Sequence[Callable[[], list[str]]], label: str, at_once: int) -> list[str]:
    """Run jobs in forks of this process, a few at once; each returns lines, all of which are returned in order.

    This process only waits: threads that a job starts, and what it leaves open, end with its fork.
    """
    told: dict[int, Path] = {}
    running: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder, Progress(label, len(jobs), "run") as progress:

        def wait() -> None:
            child, _ = os.wait()
            running.pop(child)
            progress.add(1)

        for number, job in enumerate(jobs):
            while len(running) == at_once:
                wait()
            told[number] = Path(folder, f"{number}.json")
            child = os.fork()
            if child == 0:
                try:
                    told[number].write_text(json.dumps(job()), "utf-8")
                except BaseException:
                    told[number].write_text(json.dumps([traceback.format_exc()]), "utf-8")
                finally:
                    os._exit(0)
            running[child] = number
        while running:
            wait()
        return [line for path in told.values() for line in json.loads(path.read_text("utf-8"))]


def results(stage: Stage, folder: Path) -> dict[str, Contents]:
    """What a stage made in a copy of the project."""
    found = [path for output in stage.outputs for path in below(folder / output)]
    return {path.relative_to(folder).as_posix(): contents(path) for path in found}


def changed(before: Mapping[str, Contents], after: Mapping[str, Contents], old: Any, new: Any) -> bool:
    """Whether results differ in more than values that are the parameter itself."""
    if set(before) != set(after):
        return True
    for path, here in after.items():
        there = before[path]
        names = {*here, *there} - {DATA} or {DATA}
        for name in names:
            echo = there.get(name) == old and here.get(name) == new
            if here.get(name) != there.get(name) and not echo:
                return True
    return False


def copy(base: Path, folder: Path) -> None:
    """The project in another folder, its files shared: whoever writes one puts a new one in its place."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, copy_function=os.link, ignore=shutil.ignore_patterns(".git", ".dvc", "influence"))


def with_value(folder: Path, key: str, value: Any) -> None:
    """Set one parameter of a copy."""
    path = folder / params.PARAMS
    text = configure.edited(path.read_text("utf-8"), [(key.split("."), value)])
    with files.atomic_file(path) as other:
        other.write_text(text, "utf-8")


def uncovered(known: Sequence[str]) -> Iterator[str]:
    """Parameters that no change stands for, and changes of parameters that there are not."""
    listed = {*INFLUENTIAL, *NEUTRAL, *UNTRIED}
    for key in sorted(set(known) - listed):
        yield f"{key}: stages/verification/changes.py has no change of it to try, nor why not"
    for key in sorted(listed - set(known)):
        yield f"{key}: stages/verification/changes.py changes it, params.yaml does not have it"


class Trials:
    """Every change tried on every stage that declares the parameter.

    Args:
        stages: those to look at, all if empty; what these need runs too.
    """

    def __init__(self, stages: Sequence[str]) -> None:
        self.base = Path.cwd()
        everything = stages_here()
        self.looked_at = [stage for stage in everything if not stages or {stage.group, stage.name} & set(stages)]
        needed = list(self.looked_at)
        for stage in needed:  # grows on the way
            needed += [other for other in everything if other not in needed and stage.needs(other)]
        self.all = [stage for stage in everything if stage in needed]
        self.values = {".".join(keys): value for keys, value in configure.leaves(params.read())}
        self._imported = self.base / "influence" / "imported.json"

    def _noted(self, stage: Stage) -> Path:
        return self.base / "influence" / f"{stage.name}.json"

    def as_it_is(self, stage: Stage) -> list[str]:
        """Run a stage, and note its results."""
        failed = run(stage, self.base)
        files.write_json(self._noted(stage), results(stage, self.base))
        files.write_json(self._imported, sorted(name for name in sys.modules if name != "__main__"))
        return [f"{stage.name}: at the size of smoke: {failed}"] if failed else []

    def import_alike(self) -> None:
        """Import what the stage that ran last did, so that forks need not."""
        for name in files.read_json(self._imported):
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    def changes(self) -> Iterator[tuple[Stage, str, Any]]:
        """Each stage with each parameter that it declares, and another value for it; of a matrix, one instance.

        A parameter that has the other value already is left out.
        """
        groups: dict[str, Stage] = {}
        for stage in self.looked_at:
            groups.setdefault(stage.group, stage)
        for key, value in (INFLUENTIAL | NEUTRAL).items():
            if self.values.get(key, value) != value:
                yield from ((stage, key, value) for stage in groups.values() if stage.declares(key))

    def tried(self, stage: Stage, key: str, value: Any) -> list[str]:
        """Run a stage with another value of a parameter, and see whether its results follow."""
        folder = self.base / "influence" / f"{stage.name} {key}"
        copy(self.base, folder)
        with_value(folder, key, value)
        told = f"{stage.group}: {key} = {value!r} instead of {self.values[key]!r}"
        for each in [stage, *(reader for reader in self.all if reader.name == PASSED_ON.get(key))]:
            for output in each.outputs:
                files.remove(folder / output)
            failed = run(each, folder)
            if failed:
                return [f"{told}: {failed}"]
            stage = each
        differs = changed(files.read_json(self._noted(stage)), results(stage, folder), self.values[key], value)
        shutil.rmtree(folder)
        if differs:
            return [f"{told}: results differ, and must not"] if key in NEUTRAL else []
        return [] if key in NEUTRAL else [f"{told}: no result differs; the stage ignores it"]

    def instances(self) -> Iterator[str]:
        """Instances of a matrix, seeds or conditions, that made a table or tensors that the first one made."""
        first: dict[str, tuple[str, list[Any]]] = {}
        for stage in self.looked_at:
            noted = sorted(files.read_json(self._noted(stage)).items())
            made = [(Path(path).name, of) for path, of in noted if Path(path).suffix in (".parquet", ".safetensors")]
            original, its = first.setdefault(stage.group, (stage.name, made))
            if original != stage.name:
                for (name, one), (_, other) in zip(made, its, strict=True):
                    if one == other:
                        yield f"{stage.name}: made the same {name} as {original}; it ignores its seed or condition"

    def run(self) -> tuple[int, list[str]]:
        """All of it: how many changes were tried, and a line for each problem."""
        found = list(uncovered(list(self.values)))
        for stage in self.all:
            found += in_forks([functools.partial(self.as_it_is, stage)], f"influence: {stage.name}", 1)
            self.import_alike()
        if found:
            return 0, found
        jobs = [functools.partial(self.tried, *change) for change in self.changes()]
        found += in_forks(jobs, "influence of parameters", AT_ONCE)
        return len(jobs), [*found, *self.instances()]


def of_everything(clone: Clone, folder: Path, stages: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Try the influence of everything, in a small rebuild of what is committed.

    Raises:
        UserError: if the small rebuild fails.
    """
    small = Clone(folder / "small", clone.env)
    clone.run("git", "clone", "--quiet", ".", str(small.folder))
    small.configure(SMALL, preset="smoke")
    told = json.loads(small.run("python", "-m", "stages.verification.influence", *stages, progress=True))
    return {"tried": told["tried"]}, told["problems"]


def main() -> None:
    parser = cli.parser(__doc__, "stages.verification.influence")
    parser.add_argument("stages", nargs="*", help="look at these only")
    arguments = parser.parse_args()
    check.validated()
    tried, problems = Trials(arguments.stages).run()
    print(json.dumps({"tried": tried, "problems": problems}))


if __name__ == "__main__":
    cli.run(main)
