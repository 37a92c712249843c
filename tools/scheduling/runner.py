"""Runs the stages that are out of date in child processes, as many as fit, and relays their output."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from graphlib import TopologicalSorter
from multiprocessing.connection import wait
from pathlib import Path

import psutil

from goldilocks.core import cli
from goldilocks.core.processes import SHELLS, StopRequest
from tools.scheduling import pipeline
from tools.scheduling.limits import Limits, is_training, short_name

TICK = 0.5  # seconds between looks at whether the user wants to stop
PATIENCE = 1.0  # seconds in which those that a Ctrl-C reached, too, can stop by themselves
NEWS = re.compile(r"(Running stage|Stage) '.+'")  # DVC's own lines, which name their stage
GAVE_UP = "gave up: "  # begins the line that says why DVC did
ERROR = re.compile(r"error: ", re.IGNORECASE)
LAST_LINES = 5  # of a stage that failed without saying why
PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h


class Schedule:
    """Which stages may run now: those that are out of date and whose needs are met.

    A stage that needs one which is out of date may turn out to be up to date, if that one makes the same again. So its
    status is asked for once everything it needs is settled, and never before.

    Args:
        graph: all stages.
        changed: those that are out of date as things are.
        status: says which of some stages are out of date now.
    """

    def __init__(
        self, graph: pipeline.Graph, changed: Iterable[str], status: Callable[[list[str]], Collection[str]]
    ) -> None:
        self._graph, self._status = graph, status
        self.changed = set(changed)
        self.waiting: set[str] = set()  # for their beginning, or for their status
        for name, needs in graph.items():
            if name in self.changed or not self.waiting.isdisjoint(needs):
                self.waiting.add(name)
        self._may_begin: set[str] = set()
        self._sorter = TopologicalSorter(graph)
        self._sorter.prepare()

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """All that these stages need, directly or not."""
        found: set[str] = set()
        for name in reversed(list(self._graph)):
            if name in found or name in set(names):
                found.update(self._graph[name])
        return found

    def ready(self) -> list[str]:
        """The stages that may begin, in the order of the graph."""
        while settled := self._sorter.get_ready():
            uncertain = [name for name in self._graph if name in settled and name in self.waiting - self.changed]
            self.changed.update(self._status(uncertain) if uncertain else [])
            fine = set(settled) - self.changed
            self.waiting -= fine
            self._sorter.done(*fine)
            self._may_begin.update(set(settled) - fine)
        return [name for name in self._graph if name in self._may_begin]

    def begin(self, name: str) -> None:
        self.waiting.remove(name)
        self._may_begin.remove(name)

    def end(self, name: str) -> None:
        self._sorter.done(name)


def _work(parent: int, pipe: int, root: Path, stage: str, force: bool, captured: bool) -> None:
    """Run a stage in a child process, which the system ends when its parent ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, lambda *_: None)  # the command gets it too; DVC then notes how that ended
    if captured:
        os.dup2(pipe, sys.stdout.fileno())
        os.dup2(pipe, sys.stderr.fileno())
    if reason := pipeline.reproduce(root, stage, force):
        os.write(pipe, f"{GAVE_UP}{reason}\n".encode())
        sys.exit(1)


class Child:
    """A stage at work, run by DVC in a fork of this process, which has DVC loaded already: a start costs no imports.

    Args:
        stage: DVC's name of it.
        root: the DVC repository's folder.
        force: whether to run it although nothing has changed, and to restore nothing from the run cache.
        captured: whether what it prints comes here, line by line; else it goes where this process's output goes.
    """

    def __init__(self, stage: str, root: Path, force: bool, captured: bool) -> None:
        self.stage = stage
        self.output: list[str] = []  # the last lines
        self.ended = False  # it, and whatever it had started that could still print
        self._rest = b""
        self._pipe, theirs = os.pipe()
        arguments = (os.getpid(), theirs, root, stage, force, captured)
        self.process = multiprocessing.get_context("fork").Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        os.close(theirs)

    def fileno(self) -> int:
        """What becomes readable when there are lines or the stage has ended."""
        return self._pipe

    def lines(self) -> list[str]:
        """The lines that can be read, at the end also an unfinished one; afterwards `ended` is true."""
        found = os.read(self._pipe, 2**16)
        *whole, self._rest = (self._rest + found).split(b"\n")
        if not found:
            self.ended, whole = True, [self._rest] * bool(self._rest)
        lines = [line.decode(errors="replace").rstrip("\r") for line in whole]
        self.output = [*self.output, *lines][-100:]
        return lines

    def failure(self) -> str:
        """After its end: its error in one line, if it failed."""
        os.close(self._pipe)
        self.process.join()
        code = self.process.exitcode or 0
        if not code:
            return ""
        lines = [line for line in self.output if line.strip()]
        reasons = [ERROR.sub("", line) for line in lines if ERROR.match(line)]
        reasons = reasons or [line.removeprefix(GAVE_UP) for line in lines if line.startswith(GAVE_UP)]
        if code < 0:
            reasons.append(f"DVC was ended by {signal.Signals(-code).name}")
        return f"{short_name(self.stage)} failed: {'; '.join(reasons or lines[-LAST_LINES:])}"


class Runner:
    """Runs the stages of a schedule, trainings and their needs first; the last trainings share the cores.

    When a stage fails, what is at work is brought to its end and recorded, and nothing else is begun, as `make` does:
    most mistakes would meet the next one, too, and none of the time already spent is lost.

    Args:
        force: whether to run every stage that is begun, and to restore none.
        root: the DVC repository's folder.
    """

    def __init__(self, schedule: Schedule, limits: Limits, force: bool = False, root: Path = pipeline.PROJECT) -> None:
        self.schedule, self.limits, self.force, self.root = schedule, limits, force, root
        self.children: list[Child] = []
        self.failures: list[str] = []
        self.trained = 0
        self._signalled: set[psutil.Process] = set()

    def run(self) -> None:
        """Run until nothing is left.

        Raises:
            UserError: if a stage failed; one line for each.
            KeyboardInterrupt, SystemExit: if it was asked to stop, once all has stopped.
        """
        with StopRequest().listening() as stop:
            while True:
                if not stop and not self.failures:
                    self._begin_what_fits()
                if not self.children:
                    break
                for child in wait(self.children, TICK):  # type: ignore[arg-type]
                    self._listen(child)  # type: ignore[arg-type]
                if stop and time.monotonic() - stop.asked > PATIENCE:
                    self._stop_all()
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if stop:
            sys.exit(128 + stop.signal)
        if self.failures:
            raise cli.UserError(*self.failures, "what else was running was finished and recorded; run it again")

    def _begin_what_fits(self) -> None:
        ready, waiting = self.schedule.ready(), set(filter(is_training, self.schedule.waiting))
        urgent = self.schedule.ancestors(waiting) | waiting
        for name in sorted(ready, key=lambda name: name not in urgent):
            at_work = [child.stage for child in self.children]
            trainings = sum(map(is_training, at_work))
            shares = is_training(name) and self.limits.share(name, trainings + len(waiting))
            if sum(map(self.limits.cores, at_work)) + self.limits.cores(name) > self.limits.jobs and not shares:
                return  # less urgent stages do not overtake
            if is_training(name) and trainings >= self.limits.trainings(name):
                continue
            self.schedule.begin(name)
            waiting.discard(name)
            self.children.append(Child(name, self.root, self.force, captured=self.limits.jobs > 1))

    def _listen(self, child: Child) -> None:
        """Relay what a stage has printed, and note if it has ended."""
        for line in child.lines():
            if NEWS.match(line):
                print(line, flush=True)
            elif line.strip() and not line.startswith(GAVE_UP):
                print(f"{short_name(child.stage)}: {line}", file=sys.stderr, flush=True)
        if not child.ended:
            return
        self.children.remove(child)
        self.schedule.end(child.stage)
        if failure := child.failure():
            self.failures.append(failure)
        elif is_training(child.stage):
            self.trained += 1
            known = {child.stage for child in self.children} | (self.schedule.waiting & self.schedule.changed)
            total = self.trained + sum(map(is_training, known))
            if total > 1:
                print(f"{self.trained} of {total} trainings done", file=sys.stderr, flush=True)

    def _stop_all(self) -> None:
        """Ask what the children run to stop; DVC itself then notes how that ended, and ends."""
        own = {child.process.pid for child in self.children}
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.pid not in own and process not in self._signalled and process.name() not in SHELLS:
                    self._signalled.add(process)
                    process.terminate()


def rebuild(limits: Limits, targets: Sequence[str] = (), force: bool = False, root: Path = pipeline.PROJECT) -> bool:
    """Run what is out of date among the targets and all that they need; returns whether anything was.

    Args:
        targets: names of stages; all of the repository if empty.
        root: the DVC repository's folder.

    Raises:
        UserError: if DVC can't read its records, for example while another process writes them.
        UserError, KeyboardInterrupt, SystemExit: as `Runner.run`; what was done until then is recorded.
    """
    with pipeline.open_repository(root) as repo:
        graph = pipeline.graph(repo, targets) if targets else {}
        stale = pipeline.changed(repo, graph)
        if not stale and not force:
            return False
        graph = graph or pipeline.graph(repo)
        schedule = Schedule(graph, graph if force else stale, lambda names: pipeline.changed(repo, names))
        try:
            Runner(schedule, limits, force, root).run()
        finally:
            pipeline.sort_lock_of(repo, root)
    return True
