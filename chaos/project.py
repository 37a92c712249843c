"""Copies of the project in smoke size to break: made, run, damaged and compared."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from chaos.verdicts import Ending
from stages.common.cli import UserError
from stages.common.dvc_files import DvcLock
from stages.common.files import remove

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30  # times as long as a rebuild with nothing to do: then a run counts as one that never ends
MOST_SAID = 2**24  # bytes
LOCK = "dvc.lock"
CACHE = ".dvc/cache/files/md5"
RUNS = ".dvc/cache/runs"
NOT_RESULTS = ("data/checkpoints/",)
FOREIGN = ("MAKE", "MFLAGS", "GIT_", "DVC_")  # settings of whatever started this
IDENTITY = ("-c", "user.name=chaos", "-c", "user.email=chaos@example.org", "-c", "commit.gpgsign=false")


class Out(NamedTuple):
    """An output that `dvc.lock` records."""

    stage: str
    path: str
    md5: str

    @property
    def object(self) -> str:
        """Where DVC's cache keeps it, or the list of its files."""
        return f"{CACHE}/{self.md5[:2]}/{self.md5[2:]}"


def entries(lock: str) -> dict[str, str]:
    """The text of each stage's entry in a `dvc.lock`, by its name, in the file's order."""
    _, *parts = re.split(r"^(?=  \S)", lock, flags=re.MULTILINE)
    return {part.split(":\n", 1)[0].strip(): part for part in parts}


def results(folder: Path) -> dict[str, str]:
    """The hash of everything that a rebuild is responsible for, by name: stages of `dvc.lock`, reports, data."""
    lock = folder / LOCK
    stages = entries(lock.read_text("utf-8", "replace")) if lock.is_file() else {}
    hashes = {f"{LOCK}: {name}": hashlib.sha256(text.encode()).hexdigest() for name, text in stages.items()}
    for path in (path for part in ("reports", "data") for path in (folder / part).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(NOT_RESULTS) and not re.search(r"\.tmp(/|$)", name):
            hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


class Running:
    """A command at work in a process group of its own."""

    def __init__(self, command: tuple[str, ...], folder: Path, env: Mapping[str, str], patience: float) -> None:
        self._log = tempfile.TemporaryFile(dir=folder.parent)  # noqa: SIM115 - closed with the run's end
        self._until = time.monotonic() + patience
        self.process = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    @property
    def at_work(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return os.pread(self._log.fileno(), MOST_SAID, 0).decode(errors="replace")

    def kill(self) -> None:
        """End all of the group at once, without a warning."""
        if not self._log.closed:  # later the group's number may be another's
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def ending(self) -> Ending:
        """Wait for its end, and let nothing of it live on."""
        try:
            code: int | None = self.process.wait(max(0.0, self._until - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        self.kill()
        self.process.wait()
        with self._log:
            return Ending(code, self.said)


class Project:
    """A copy of the project; when it is left (`with`), what was to last until then is undone.

    Args:
        folder: where it lies; DVC's notes on files are kept beside it.
        idle: the seconds that a rebuild with nothing to do takes, or as good as for ever.
        expected: the results of an undisturbed rebuild.
    """

    def __init__(self, folder: Path, idle: float = 120.0, expected: Mapping[str, str] | None = None) -> None:
        self.folder, self.idle, self.expected = folder, idle, expected or {}
        self.lasting = ExitStack()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.lasting.close()

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """A user's shell; what is None in `changes` is not set."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        notes = str(self.folder.parent / "site")
        own = {"PATH": path, "PYTHON": "python3", "PYTHONDONTWRITEBYTECODE": "1", "DVC_SITE_CACHE_DIR": notes}
        changed = kept | own | dict(changes or {})
        return {name: value for name, value in changed.items() if value is not None}

    def start(self, *command: str, changes: Mapping[str, str | None] | None = None) -> Running:
        running = Running(command, self.folder, self.environment(changes), PATIENCE * self.idle)
        self.lasting.callback(running.kill)
        return running

    def rebuild(self, *prefix: str, changes: Mapping[str, str | None] | None = None) -> Ending:
        """`make repro`, to its end."""
        return self.start(*prefix, "make", "repro", changes=changes).ending()

    def check(self, *command: str) -> str:
        """Run what must succeed, and return what it printed.

        Raises:
            UserError: if it does not, with its last lines.
        """
        return succeeded(" ".join(command), self.start(*command).ending())

    def git(self, *arguments: str) -> str:
        return self.check("git", *IDENTITY, *arguments)

    def lend_environment(self) -> None:
        """Let `make` in the copy use this interpreter's environment, as one that is installed there."""
        venv, own = self.folder / ".venv", Path(sys.executable)
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "dvc").symlink_to(own.with_name("dvc"))
        python = venv / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{own}" "$@"\n', "utf-8")
        python.chmod(0o755)
        sums = self.check("sh", "-c", "cat requirements.lock environment.sh | cksum").strip()
        (venv / "installed-project").write_text(self.check("sh", "-c", "cksum < pyproject.toml"), "utf-8")
        (venv / "installed").write_text(f"{sums} python3 {self.folder.resolve()}\n", "utf-8")

    def name(self, path: Path) -> str:
        """A path in the copy as people call it."""
        return path.relative_to(self.folder).as_posix()

    def outs(self) -> list[Out]:
        return [Out(*entry) for entry in DvcLock(self.folder / LOCK).entries("outs")]

    def settle(self) -> None:
        """Let the project's own notes and DVC's know all files as they are now: a copy has other ones."""
        self.check("python", "-m", "stages.repair")
        self.start("dvc", "status", "--quiet", "dvc.yaml").ending()

    def drop_entries(self, stages: Iterable[str]) -> None:
        """Let `dvc.lock` know nothing of some stages."""
        lock = self.folder / LOCK
        text = lock.read_text("utf-8")
        known = entries(text)
        for stage in stages:
            text = text.replace(known[stage], "")
        lock.write_text(text, "utf-8")

    def forget(self, chance: Random, count: int) -> str:
        """Undo some stages as if they had never run, so that a rebuild has work to do; returns which, in words."""
        made = self.outs()
        chosen = sorted(chance.sample(sorted({out.stage for out in made} - {"check"}), count))
        for out in made:
            if out.stage in chosen:
                remove(self.folder / out.path)
                remove(self.folder / out.object)
        self.drop_entries(chosen)
        remove(self.folder / RUNS)
        return f"{', '.join(chosen)} to be made"


def succeeded(what: str, ending: Ending) -> str:
    """What was printed by something that must succeed.

    Raises:
        UserError: if it did not, with its last lines.
    """
    if ending.code != 0:
        raise UserError(f"could not run: {what} ended with exit code {ending.code}", *ending.said.splitlines()[-8:])
    return ending.said


def fresh_copy(folder: Path) -> Project:
    """The project's files as they are now, tracked or new, in a git repository of their own."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"could not run: git can't list the project's files ({error})") from error
    for name in names:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    project = Project(folder)
    project.git("init", "--quiet")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "as it is")
    return project
