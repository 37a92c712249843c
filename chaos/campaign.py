"""Injects faults one after another, until the time is up, and judges what becomes of each."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chaos import mounts
from chaos.faults import contents, disks, processes, repository, surroundings
from chaos.faults.fault import Fault
from chaos.project import Project, fresh_copy, results, succeeded
from chaos.verdicts import FAILURES, Outcome, Verdict, differences, judge, some
from stages.common.cli import UserError
from stages.common.files import remove

FAULTS = (*processes.FAULTS, *disks.FAULTS, *contents.FAULTS, *repository.FAULTS, *surroundings.FAULTS)
STAGE = re.compile(r"^Running stage '(.+)':$", re.MULTILINE)
LAST_LINES = 15  # of what runs printed, where something is amiss
NO_TIME = "no time was left"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Campaign:
    """Faults, and what became of them.

    Args:
        work: an empty folder for copies.
        seed: names the stream of random choices; each injection has one of its own, whatever else is injected.
        seconds: how long it may take, all in all.
    """

    def __init__(self, work: Path, seed: str, seconds: float) -> None:
        self.start, self.seconds = time.monotonic(), seconds
        self.undisturbed, self.arena, self.seed = work / "undisturbed", work / "arena", seed
        self.expected: dict[str, str] = {}
        self.outcomes: dict[str, list[Outcome]] = {}
        self.skipped: dict[str, str] = {}

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def prepare(self, built: Path | None = None) -> None:
        """Make what every injection starts from, committed, and see that nothing changes where nothing is wrong.

        Args:
            built: a copy of the project in smoke size that was rebuilt before, to go on from.

        Raises:
            UserError: if that fails.
        """
        say("an undisturbed rebuild in smoke size" + ("" if built else ", from nothing: about a minute"))
        folder = self.arena / "project"
        if built:
            shutil.copytree(built, folder, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
        with Project(folder) if built else fresh_copy(folder) as project:
            project.lend_environment()
            self.follow(project)
            project.git("add", "--all")
            project.git("commit", "--quiet", "--allow-empty", "--message", "smoke size")
            project.git("branch", "--move", "--force", "main")
            self.rebuilding, self.expected = self.elapsed, results(folder)
            project.check("make", "repro")
        self.idle = self.elapsed - self.rebuilding
        differing = differences(results(folder), self.expected)
        if differing:
            raise UserError(f"could not run: make repro changes its own undisturbed result: {some(differing)}")
        folder.rename(self.undisturbed)
        remove(self.arena)
        say(f"done after {self.rebuilding:.0f} s; with nothing to do it takes {self.idle:.1f} s")

    def follow(self, project: Project) -> None:
        """Rebuild in smoke size, and tell which stage runs.

        Raises:
            UserError: if it fails.
        """
        running, told = project.start("make", "repro", "PRESET=smoke"), 0
        while running.at_work:
            time.sleep(0.2)
            stages = STAGE.findall(running.said)
            for stage in stages[told:]:
                say(f"{self.elapsed:4.0f} s  {stage}")
            told = len(stages)
        succeeded("the undisturbed rebuild", running.ending())

    def inject(self, fault: Fault, number: int) -> Verdict:
        """Inject a fault, take it away, rebuild, and judge."""
        chance = Random(f"{self.seed}/{fault.name}/{number}")  # noqa: S311 - not for secrets
        shutil.copytree(self.undisturbed, self.arena / "project", symlinks=True)
        with Project(self.arena / "project", self.idle, self.expected) as project:
            with fault.inject(project, chance) as injection:
                say(f"{self.elapsed:4.0f} s  {fault.name}: {injection.said}")
                endings = injection.run() if injection.run else [project.rebuild()]
                differing = differences(results(project.folder), self.expected, injection.apart) + injection.further()
            again = project.rebuild()
            verdict = judge(endings, differing, again, differences(results(project.folder), self.expected))
        remove(self.arena)
        say(f"        {verdict.outcome}{f': {verdict.why}' if verdict.why else ''}")
        if verdict.outcome in FAILURES:
            for ending in (*endings, again):
                last = ending.said.splitlines()[-LAST_LINES:]
                say("\n".join(f"        | {line}" for line in [*last, f"exit code {ending.code}"]))
        return verdict

    def run(self, faults: Sequence[Fault]) -> None:
        """Inject until the time is up; the next one is of the kind that has had the least time so far."""
        self.skipped = {fault.name: mounts.missing() for fault in faults if fault.mounts and mounts.missing()}
        waiting = [fault for fault in faults if fault.name not in self.skipped]
        self.outcomes = {fault.name: [] for fault in waiting}
        spent = dict.fromkeys(self.outcomes, 0.0)
        longest = {fault.name: fault.rebuilds * self.rebuilding + 4 * self.idle for fault in waiting}
        while waiting:
            fault = min(waiting, key=lambda fault: spent[fault.name])
            if self.elapsed + longest[fault.name] > self.seconds:
                waiting.remove(fault)
                continue
            before = self.elapsed
            verdict = self.inject(fault, len(self.outcomes[fault.name]))
            self.outcomes[fault.name].append(verdict.outcome)
            took = self.elapsed - before
            spent[fault.name] += took
            longest[fault.name] = max(longest[fault.name], took)
        for name in [name for name, found in self.outcomes.items() if not found]:
            del self.outcomes[name]
            self.skipped[name] = NO_TIME
