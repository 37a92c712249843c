"""Runs the stages of a schedule in child processes, as many as fit, and relays their output."""

from __future__ import annotations

import re
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from goldilocks.core import cli
from goldilocks.core.processes import SHELLS, StopRequest
from tools.scheduling import pipeline
from tools.scheduling.child import GAVE_UP, Child
from tools.scheduling.schedule import Schedule, short_name

TICK = 0.5  # seconds between looks at whether the user wants to stop
PATIENCE = 1.0  # seconds in which those that a Ctrl-C reached, too, can stop by themselves
NEWS = re.compile(r"(Running stage|Stage) '.+'")  # DVC's own lines, which name their stage
ERROR = re.compile(r"error: ", re.IGNORECASE)
LAST_LINES = 5  # of a stage that failed without saying why


class Limits:
    """How much may run at once.

    Args:
        jobs: cores.
        cores: says how many of them a stage takes.
        trainings: says how many trainings of a stage fit; asked when the stage's first one is about to begin.
    """

    def __init__(
        self, jobs: int, cores: Callable[[str], int] | None = None, trainings: Callable[[str], int] | None = None
    ) -> None:
        self.jobs, self._cores, self._trainings = jobs, cores, trainings
        self._most: dict[str, int] = {}

    def cores(self, stage: str) -> int:
        return min(self.jobs, self._cores(stage)) if self._cores else 1

    def trainings(self, first: str) -> int:
        stage = short_name(first).split("@")[0]
        if stage not in self._most:
            self._most[stage] = self._trainings(first) if self._trainings else self.jobs
        return self._most[stage]


class Runner:
    """Runs the stages of a schedule, trainings and their needs first; the last trainings share the cores.

    When a stage fails, what is at work is brought to its end and recorded, and nothing else is begun, as `make` does:
    most mistakes would meet the next one, too, and none of the time already spent is lost.

    Args:
        is_training: whether a stage trains a model, which takes long.
        force: whether to run every stage that is begun, and to restore none.
        root: the DVC repository's folder.
    """

    def __init__(
        self,
        schedule: Schedule,
        limits: Limits,
        is_training: Callable[[str], bool],
        force: bool = False,
        root: Path = pipeline.PROJECT,
    ) -> None:
        self.schedule, self.limits, self.is_training = schedule, limits, is_training
        self.force, self.root = force, root
        self.children: dict[str, Child] = {}
        self.output: dict[str, list[str]] = {}
        self.failures: list[str] = []
        self.trained = 0
        self._selector = selectors.PollSelector()  # epoll would be shared with the children
        self._signalled: set[psutil.Process] = set()

    def run(self) -> None:
        """Run until nothing is left.

        Raises:
            UserError: if a stage failed; one line for each.
            KeyboardInterrupt, SystemExit: if it was asked to stop, once all has stopped.
        """
        with StopRequest().listening() as stop, self._selector:
            while True:
                if not stop and not self.failures:
                    self._begin_what_fits()
                if not self.children:
                    break
                for key, _ in self._selector.select(TICK):
                    self._listen(key.fileobj)  # type: ignore[arg-type]
                if stop and time.monotonic() - stop.asked > PATIENCE:
                    self._stop_all()
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if stop:
            sys.exit(128 + stop.signal)
        if self.failures:
            raise cli.UserError(*self.failures, "what else was running was finished and recorded; run it again")

    def _ordered(self) -> list[str]:
        """What may begin, the most urgent first."""
        ready = self.schedule.ready()
        trainings = [name for name in self.schedule.waiting if self.is_training(name)]
        urgent = self.schedule.ancestors(trainings).union(trainings)
        return sorted(ready, key=lambda name: name not in urgent)

    def _shares_cores(self, name: str) -> bool:
        """Whether this is one of the last trainings, too few for two rounds, which take less time all at once.

        Three on two cores end after 1.5 times the time of one; two of them and then the third, after twice that time.
        """
        left = sum(map(self.is_training, self.schedule.waiting | self.schedule.running))
        return self.is_training(name) and left * self.limits.cores(name) < 2 * self.limits.jobs

    def _begin_what_fits(self) -> None:
        for name in self._ordered():
            taken = sum(map(self.limits.cores, self.children))
            if taken + self.limits.cores(name) > self.limits.jobs and not self._shares_cores(name):
                return  # less urgent stages do not overtake
            if self.is_training(name) and sum(map(self.is_training, self.children)) >= self.limits.trainings(name):
                continue
            self.schedule.begin(name)
            self.output[name] = []
            child = Child(name, self.root, self.force, captured=self.limits.jobs > 1)
            self.children[name] = child
            self._selector.register(child, selectors.EVENT_READ)

    def _listen(self, child: Child) -> None:
        """Relay what a stage has printed, and note if it has ended."""
        for line in child.lines():
            if NEWS.match(line):
                print(line, flush=True)
            elif line.strip() and not line.startswith(GAVE_UP):
                print(f"{short_name(child.stage)}: {line}", file=sys.stderr, flush=True)
            self.output[child.stage] = [*self.output[child.stage], line][-100:]
        if child.ended:
            self._note_end(child)

    def _note_end(self, child: Child) -> None:
        self._selector.unregister(child)
        name, code = child.stage, child.exit_code()
        del self.children[name]
        self.schedule.end(name)
        if code:
            self.failures.append(self._failure(name, code))
        elif self.is_training(name):
            self.trained += 1
            self._report_trainings()

    def _report_trainings(self) -> None:
        known = self.schedule.running | (self.schedule.waiting & self.schedule.changed)
        total = self.trained + sum(map(self.is_training, known))
        if total > 1:
            print(f"{self.trained} of {total} trainings done", file=sys.stderr, flush=True)

    def _failure(self, name: str, code: int) -> str:
        """A stage's error in one line."""
        lines = [line for line in self.output[name] if line.strip()]
        reasons = [ERROR.sub("", line) for line in lines if ERROR.match(line)]
        reasons = reasons or [line.removeprefix(GAVE_UP) for line in lines if line.startswith(GAVE_UP)]
        if code < 0:
            reasons.append(f"DVC was ended by {signal.Signals(-code).name}")
        return f"{short_name(name)} failed: {'; '.join(reasons or lines[-LAST_LINES:])}"

    def _stop_all(self) -> None:
        """Ask what the children run to stop; DVC itself then notes how that ended, and ends."""
        own = {child.pid for child in self.children.values()}
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.pid not in own and process not in self._signalled and process.name() not in SHELLS:
                    self._signalled.add(process)
                    process.terminate()


def rebuild(
    limits: Limits,
    is_training: Callable[[str], bool],
    targets: Sequence[str] = (),
    force: bool = False,
    root: Path = pipeline.PROJECT,
) -> bool:
    """Run what is out of date among the targets and all that they need; returns whether anything was.

    Args:
        targets: names of stages; all of the repository if empty.
        root: the DVC repository's folder.

    Raises:
        UserError: if DVC can't read its records, for example while another process writes them.
        UserError, KeyboardInterrupt, SystemExit: as `Runner.run`; what was done until then is recorded.
    """
    with pipeline.errors_in_a_line(), pipeline.open_repository(root) as repo:
        stale = pipeline.changed(repo, targets or [pipeline.declared(root)], with_needs=bool(targets))
        if not stale and not force:
            return False
        graph = pipeline.graph(repo, targets or [pipeline.declared(root)])
        schedule = Schedule(graph, graph if force else stale, lambda names: pipeline.changed_now(repo, names))
        try:
            Runner(schedule, limits, is_training, force, root).run()
        finally:
            pipeline.sort_lock_of(repo, root)
    return True
