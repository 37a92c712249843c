"""Let long computations end with their parent process, exclude each other by a lock, and stop cleanly on a signal."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from goldilocks.core.cli import UserError

SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ash", "ksh"}
GRACE = 60.0  # seconds to stop cleanly
IMPATIENCE = 1.0  # seconds after a Ctrl-C after which another one comes from a person


def _owner() -> psutil.Process | None:
    """The nearest ancestor that is not a shell."""
    for ancestor in psutil.Process().parents():
        try:
            if ancestor.name() not in SHELLS:
                return ancestor
        except psutil.Error:
            return None
    return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_with_owner() -> None:
    """Terminate this process as soon as its parent has ended, even by SIGKILL.

    For work that DVC or torchrun starts. A process that a person starts by hand may outlive the shell.
    """
    owner = _owner()

    def watch() -> None:
        while owner is not None and is_alive(owner):
            time.sleep(0.2)
        with suppress(OSError):  # its reader may have gone, too
            print("whoever started this training has gone: stopping", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def exclusive(path: Path, what: str, patience: float = GRACE) -> Iterator[None]:
    """Hold the lock file `path`, which the system frees if this process dies; wait a while for another process's lock.

    Raises:
        UserError: if another process still holds it after `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        deadline = time.monotonic() + patience
        announced = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{path}: {what} is already running (process {holder}); wait for it, or stop it"
                    ) from None
                if not announced:
                    print(f"{what}: waiting for process {holder}, which holds {path}", file=sys.stderr)
                    announced = True
                time.sleep(0.1)
        handle.truncate(0)
        with suppress(OSError):  # a full disk; the number is only information
            os.write(handle.fileno(), f"{os.getpid()}\n".encode())
        yield


class StopRequest:
    """Notes SIGTERM and SIGINT, so that the work can stop at the next safe point.

    A process may get its group's signal twice, directly and from its parent. So only a later second Ctrl-C, from a
    person who does not want to wait, stops the process at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.asked = 0.0

    def __bool__(self) -> bool:
        return self.signal != 0

    def _note(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self.signal and number == signal.SIGINT and now - self.asked > IMPATIENCE:
            sys.exit(128 + number)
        if not self.signal:
            self.signal, self.asked = number, now

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the signals while the block runs."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
