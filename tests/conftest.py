"""Copies of the project to run for real, and what the tests share."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import importlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self
from unittest import mock

import hypothesis
import last_commit
import pytest
import run_stages
from closure import ROOT
from ruamel.yaml import YAML

import stages  # noqa: F401  before any numerical library: it pins what they compute with
from goldilocks.core import cli, dvc_files


def pytest_configure() -> None:
    """Let Ctrl-C reach what is tested, although a shell that starts tests in its background has it ignored.

    And let an example take as long as a busy machine needs; and collect no garbage while all tests are imported.
    """
    gc.disable()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("busy machine", deadline=None)
    hypothesis.settings.load_profile("busy machine")


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what was imported, which stays."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first, then what needs no rebuilt pipeline: nobody waits for either."""
    items.sort(
        key=lambda item: (item.get_closest_marker("longest") is None, "smoke" in getattr(item, "fixturenames", ()))
    )


def environment() -> dict[str, str]:
    """A user's shell with the tests' interpreter first on PATH and a name for git, and no git or make around it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    around = ("GIT_", "MAKE", "MFLAGS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(around) and name != "PYTHON"}
    somebody = {f"GIT_{role}_{name}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for name in ("NAME", "EMAIL")}
    own |= {"PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    return own | somebody


def fork(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """Call a function in a new process, which has imported what trains: it is forked from a clean one that has."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages", "goldilocks.model5.training_run"])
    with contextlib.chdir(ROOT):
        forkserver.ensure_running()
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


class Project:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy; `python` is the tests' interpreter. `extra` is added to the environment."""
        return subprocess.run(command, cwd=self.folder, env=environment() | extra, capture_output=True, text=True)

    def check(self, *command: str, **extra: str) -> str:
        """Run a command that must succeed and return what it printed."""
        done = self.run(*command, **extra)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        return self.check("git", *arguments)

    def stage(self, name: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run one stage's module."""
        return self.run("python", "-m", f"stages.{name}", *arguments, **extra)

    def tool(self, name: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run one of the commands around the pipeline."""
        return self.run("python", "-m", f"tools.{name}", *arguments, **extra)

    def here(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a stage, or with a dot any module, in this process, which saves the imports.

        Its code is the tests', not the copy's.
        """
        said = io.StringIO(), io.StringIO()
        code: object = 0
        with (
            contextlib.chdir(self.folder),
            mock.patch.object(sys, "argv", [name, *arguments]),
            mock.patch.object(signal, "signal"),
            contextlib.redirect_stdout(said[0]),
            contextlib.redirect_stderr(said[1]),
        ):
            try:
                cli.run(importlib.import_module(name if "." in name else f"stages.{name}").main)
            except SystemExit as ended:
                code = ended.code or 0
        return subprocess.CompletedProcess([name, *arguments], code, said[0].getvalue(), said[1].getvalue())

    def fork(self, log: Path, *commands: str) -> BaseProcess:
        """Start stages, one after another, in one process, by `fork`; `log` gets what they print.

        Their code is the tests', not the copy's.
        """
        return fork(run_stages.run_in, self.folder, log, commands)

    def configure(self, *assignments: str, preset: str | None = None) -> None:
        chosen = ["--preset", preset] if preset else []
        done = self.here("tools.configure", *chosen, *assignments)
        assert done.returncode == 0, done.stderr

    def repro(self) -> set[str]:
        """Run `dvc repro` and return the names of the stages that ran."""
        printed = self.check("dvc", "repro")
        return {line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage '")}

    def commit(self, message: str) -> None:
        """Record all changes of tracked files in git."""
        self.git("-c", "commit.gpgsign=false", "commit", "--quiet", "--all", "--message", message)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text("utf-8")

    def results(self, folders: Iterable[str] = ("reports", "data")) -> dict[str, str]:
        """The hash of all that a rebuild makes, by name: stages of `dvc.lock`, files in some folders."""
        hashes = {f"dvc.lock: {name}": text for name, text in dvc_files.blocks(self.read("dvc.lock")).items()}
        for path in (path for folder in folders for path in (self.folder / folder).rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith("data/checkpoints/") and not re.search(r"\.tmp(/|$)", name):
                hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return hashes

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a", encoding="utf-8") as handle:
            handle.write(text)

    def copy(self, folder: Path) -> Self:
        shutil.copytree(self.folder, folder, symlinks=True)
        return type(self)(folder)


def fresh_copy(folder: Path) -> Project:
    """The project's files as they are now, tracked or new, in a git repository of their own.

    Parameters have the committed values.
    """
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(last_commit.params_text(), "utf-8")
    project = Project(folder)
    project.check("git", "init", "--quiet")
    project.check("git", "add", "--all")
    project.commit("as it is")
    project.check("git", "repack", "-adq")  # one file is copied sooner than hundreds
    return project


Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Shared:
    """Fill a folder once for all processes that test; the others wait."""
    base = tmp_path_factory.getbasetemp()
    common = base if worker_id == "master" else base.parent

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = common / name, common / f"{name}.done"
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def _fresh(shared: Shared) -> Project:
    return Project(shared("fresh copy", fresh_copy))


@pytest.fixture
def project(_fresh: Project, tmp_path: Path) -> Project:
    """A fresh copy of the project, nothing run in it."""
    return _fresh.copy(tmp_path / "a project")


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """A folder with the project's parameters and nothing else, for what looks no further: sooner made than a copy."""
    folder = tmp_path / "bare"
    shutil.copytree(ROOT / "presets", folder / "presets")
    (folder / "params.yaml").write_text(last_commit.params_text(), "utf-8")
    return Project(folder)


@pytest.fixture(scope="session")
def committed(shared: Shared) -> Path:
    """A folder with what is committed, whatever was edited or rebuilt since. Only to look at."""
    return shared("committed", last_commit.unpack)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch compute Model 5's products, as in native arithmetic."""
    from goldilocks.model5 import products

    monkeypatch.setattr(products, "PORTABLE", False)


@pytest.fixture
def small_disk_at() -> Iterator[Callable[[Path, str], None]]:
    """Mount a file system of a size (as in "64k") at a folder while the test runs; skips where that is not allowed."""
    mounted = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def _rebuild_in_smoke_size(project: Project) -> None:
    """Run every stage, in two processes for all, and let DVC record the results."""
    project.configure(preset="smoke")
    commands = []
    for stage in YAML(typ="safe").load(project.read("dvc.yaml"))["stages"].values():
        command = stage["cmd"].removeprefix("python -m stages.").replace("${run.seeds[0]}", "0")
        commands += [command.replace("${item.seed}", str(seed)) for seed in ([0, 1] if "matrix" in stage else [0])]
    trained = 1 + commands.index("train 1")  # in a process of their own, which computes without denormal numbers
    for number, some in enumerate((commands[:trained], commands[trained:])):
        log = project.folder.with_name(f"smoke run {number}.log")
        process = project.fork(log, *some)
        process.join()
        assert process.exitcode == 0, log.read_text("utf-8")
    project.check("dvc", "commit", "--force")


@pytest.fixture(scope="session")
def smoke(shared: Shared, _fresh: Project) -> Project:
    """The pipeline rebuilt in smoke size, once for all tests. Only to look at."""
    return Project(shared("smoke run", lambda folder: _rebuild_in_smoke_size(_fresh.copy(folder))))


@pytest.fixture
def rebuilt(smoke: Project, tmp_path: Path) -> Project:
    """A copy of the rebuilt smoke pipeline, to change and run again."""
    return smoke.copy(tmp_path / "the project")


@pytest.fixture
def longer(rebuilt: Project) -> Project:
    """Such a copy, set to train one seed for longer, nothing of that run yet."""
    every = (f"train.{what}_every={steps}" for what, steps in (("snapshot", 40), ("evaluate", 40), ("checkpoint", 8)))
    rebuilt.configure("run.seeds=[0]", "train.steps=121", *every)
    shutil.rmtree(rebuilt.folder / "data" / "checkpoints", ignore_errors=True)
    return rebuilt
