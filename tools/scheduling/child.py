"""One stage, run by DVC in a process forked from this one, which has DVC loaded already: a start costs no imports."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h
FAILED = 1
RUNNING = "Running stage '%s':"
RESTORED = "Stage '%s' is cached - skipping run, checking out outputs"
GAVE_UP = "gave up: "  # begins the line that says why DVC did
LONGEST_LINE = 2**16  # characters that are held until a line ends


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message of DVC's is of interest: warnings, and what it does with the stage."""
    return record.levelno >= logging.WARNING or record.msg in (RUNNING, RESTORED)


def _end_with(parent: int) -> None:
    """Let the system end this process when its parent ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(FAILED)


def _reproduce(root: Path, stage: str, force: bool) -> str:
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


class Child:
    """A stage at work.

    Args:
        stage: DVC's name of it.
        root: the DVC repository's folder.
        force: whether to run it although nothing has changed, and to restore nothing from the run cache.
        captured: whether what it prints comes here, line by line; else it goes where this process's output goes.
    """

    def __init__(self, stage: str, root: Path, force: bool = False, captured: bool = True) -> None:
        self.stage, self._root = stage, root
        self.ended = False  # it, and whatever it had started that could still print
        self._rest = b""
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._pipe, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            self._work(parent, theirs, force, captured)
        os.close(theirs)
        os.set_blocking(self._pipe, False)

    def _work(self, parent: int, theirs: int, force: bool, captured: bool) -> NoReturn:
        """Run the stage in the new process, and end it."""
        code = FAILED
        try:
            _end_with(parent)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, lambda *_: None)  # the command gets it too; DVC then notes how that ended
            if captured:
                os.dup2(theirs, sys.stdout.fileno())
                os.dup2(theirs, sys.stderr.fileno())
            if reason := _reproduce(self._root, self.stage, force):
                os.write(theirs, f"{GAVE_UP}{reason}\n".encode())
            else:
                code = 0
        except BaseException:  # a defect; the parent's code must not continue here
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def fileno(self) -> int:
        """What becomes readable when there are lines or the stage has ended."""
        return self._pipe

    def lines(self) -> Iterator[str]:
        """The lines printed since the last call, at the end also an unfinished one; afterwards `ended` is true."""
        while True:
            try:
                found = os.read(self._pipe, 2**16)
            except BlockingIOError:
                return
            *whole, self._rest = (self._rest + found).split(b"\n")
            if self._rest and (not found or len(self._rest) > LONGEST_LINE):
                whole, self._rest = [*whole, self._rest], b""
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
            if not found:
                self.ended = True
                return

    def exit_code(self) -> int:
        """How it ended; negative is the number of the signal that ended it."""
        os.close(self._pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
