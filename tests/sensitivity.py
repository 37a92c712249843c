"""Run every stage with another value of each parameter that it declares, and see whether its results differ.

A command for a copy of the project rebuilt at the size of the preset `smoke`; `pipeline/test_sensitivity.py` calls it.
Stages run in forks of one process, which has imported everything once: some eighty runs take no longer than eight that
start anew.

command: PYTHONPATH=. python tests/sensitivity.py [STAGE ...]
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import pkgutil
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path

from perturbations import INFLUENTIAL, NEUTRAL, PASSED_ON, UNUSED

import goldilocks
import stages  # noqa: F401  before any numerical library: it pins what they compute with
from goldilocks.core import cli, files, params
from tools import configure
from tools.scheduling.pipeline import ABLATIONS, PROJECT, open_repository
from tools.verification.compare import values

AT_ONCE = 2


class Stage:
    """A stage of the pipeline as DVC sees it, its parameters put in place; paths begin at this folder."""

    def __init__(self, stage):
        words = stage.cmd.split()
        self.name, self.group = stage.name, stage.name.split("@")[0]  # with and without the instance of a matrix
        self.folder, self.arguments = os.path.relpath(stage.wdir), words[words.index("-m") + 1 :]
        self.sections = [key for dependency in stage.deps for key in getattr(dependency, "params", [])]
        self.outputs = [os.path.relpath(out.fs_path) for out in stage.outs]

    def declares(self, key):
        """Whether it is given a parameter, alone or with its whole section."""
        return key in self.sections or key.split(".")[0] in self.sections


def stages_here():
    """Every stage of the pipeline and the ablations in this folder."""
    found = []
    for root in (PROJECT, ABLATIONS):
        with open_repository(root) as repo:
            found += map(Stage, repo.index.stages)
    return found


def run(stage, folder):
    """Run a stage in a copy of the project; returns what it printed if it failed, else nothing. Only in a fork."""
    os.chdir(folder / stage.folder)
    sys.argv = stage.arguments
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cli.run(importlib.import_module(stage.arguments[0]).main)
    except SystemExit as stop:
        return said.getvalue() or "it failed" if stop.code else ""
    finally:
        os.chdir(folder)
    return ""


def in_forks(function, jobs):
    """Call a function for each job in a fork of this process, a few at once; each returns lines."""

    def in_fork(job):
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as fork:
            return fork.submit(function, *job).result()

    with ThreadPool(AT_ONCE) as threads:
        return [line for lines in threads.imap(in_fork, jobs) for line in lines]


def results(stage, folder):
    """What a stage made in a copy, by file and name: each value of JSON as it is, of columns, tensors, lines a hash."""
    made = [path for out in stage.outputs for path in (folder / out, *(folder / out).rglob("*")) if path.is_file()]
    return {
        (path.relative_to(folder).as_posix(), name): of[0] if isinstance(of, list) and len(of) == 1 else digest(of)
        for path in made
        for name, of in values(path.name, path.read_bytes()).items()
    }


def digest(column):
    numbers = hasattr(column, "dtype") and not column.dtype.hasobject
    return hashlib.sha256(column.tobytes() if numbers else repr(list(column)).encode()).hexdigest()


def changed(before, after, old, new):
    """Whether results differ in more than values that are the parameter itself."""
    pairs = ((before[name], after[name]) for name in before.keys() & after.keys())
    return before.keys() != after.keys() or any(was != now and (was, now) != (old, new) for was, now in pairs)


def copy_with(base, folder, key, value):
    """The project in another folder with another value of a parameter.

    Its files are shared: whoever writes one puts a new one in its place.
    """
    shutil.copytree(base, folder, copy_function=os.link, ignore=shutil.ignore_patterns(".git", ".dvc", "tried"))
    text = (base / params.PARAMS).read_text("utf-8")
    files.write_text(folder / params.PARAMS, configure.edited(text, {key: value}))


class Trials:
    """Every change tried on every stage that declares the parameter.

    Args:
        groups: the stages to look at, all if empty.
    """

    def __init__(self, groups):
        self.base, self.values = Path.cwd(), dict(configure.leaves(params.read()))
        self.all = stages_here()
        self.looked_at = [stage for stage in self.all if not groups or stage.group in groups]

    def changes(self):
        """Each stage with each parameter that it declares, and another value for it; of a matrix, one instance."""
        groups = {stage.group: stage for stage in reversed(self.looked_at)}
        for key, value in (INFLUENTIAL | NEUTRAL).items():
            yield from ((stage, key, value) for stage in groups.values() if stage.declares(key))

    def tried(self, stage, key, value):
        """Run a stage with another value of a parameter, and see whether its results follow."""
        folder = self.base / "tried" / f"{stage.name} {key}"
        copy_with(self.base, folder, key, value)
        neutral = key in NEUTRAL or key in UNUSED.get(stage.group, ())
        told = f"{stage.group}: {key} = {value!r} instead of {self.values[key]!r}"
        readers = [] if neutral else [reader for reader in self.all if reader.name == PASSED_ON.get(key)]
        for each in [stage, *readers]:
            for output in each.outputs:
                files.remove(folder / output)
            if failed := run(each, folder):
                return [f"{told}: {failed}"]
            stage = each
        differs = changed(results(stage, self.base), results(stage, folder), self.values[key], value)
        shutil.rmtree(folder)
        if differs:
            return [f"{told}: results differ, and must not"] if neutral else []
        return [] if neutral else [f"{told}: no result differs; the stage ignores it"]

    def instances(self):
        """Instances of a matrix, seeds or conditions, that made a table or tensors that the first one made."""
        first = {}
        for stage in self.looked_at:
            made, instance = {}, stage.name.partition("@")[2]
            for (path, name), of in sorted(results(stage, self.base).items()):
                if path.endswith((".parquet", ".safetensors")):
                    own = Path(path).stem == f"seed-{instance.split('-')[-1]}"  # the only file of an instance
                    made.setdefault("its table" if own else Path(path).name, {})[name] = of
            original, its = first.setdefault(stage.group, (stage.name, made))
            if original != stage.name:
                for name in made:
                    if made[name] == its[name]:
                        yield f"{stage.name}: made the same {name} as {original}; it ignores its seed or condition"


if __name__ == "__main__":
    for module in pkgutil.walk_packages(goldilocks.__path__, "goldilocks."):  # so that no fork need import it
        importlib.import_module(module.name)
    trials = Trials(sys.argv[1:])
    changes = list(trials.changes())
    print(json.dumps({"tried": len(changes), "problems": [*in_forks(trials.tried, changes), *trials.instances()]}))
