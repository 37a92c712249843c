"""Progress of a long computation, and the time left."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

QUIET = 2.0  # seconds before anything is shown
EVERY = 10.0  # seconds between lines where there is no terminal


class Progress:
    """A bar on a terminal, else a line every ten seconds or so, on stderr.

    The time left is the work left over the mean rate so far, so `total` should measure work, not items.
    Any thread may add to it.

    Args:
        label: what is computed.
        total: the whole work, in `unit`.
        done: work of an earlier run.
    """

    def __init__(self, label: str, total: float, unit: str, done: float = 0) -> None:
        self._label, self._total, self._first, self._done, self._unit = label, total, done, done, unit
        self._bar = tqdm(
            desc=label, total=total, initial=done, unit=unit, unit_scale=total > 10_000, smoothing=0,
            disable=None, delay=QUIET, leave=False,
        )  # fmt: skip
        self._start = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, work: float, note: str = "") -> None:
        """Add finished work; `note` is shown beside it."""
        with self._lock:
            self._done += work
            if not self._bar.disable:
                self._bar.set_postfix_str(note, refresh=False)
                self._bar.update(work)
                return
            now = time.monotonic()
            if now - self._shown > EVERY or (self._done >= self._total and now - self._start > QUIET):
                self._shown = now
                seconds = (self._total - self._done) * (now - self._start) / max(self._done - self._first, 1e-9)
                share = f"{self._done / self._total:.0%} of {self._total:,.0f} {self._unit}s"
                parts = [share, note, f"{seconds:.0f} s left"]
                print(f"{self._label}: {', '.join(filter(None, parts))}", file=sys.stderr)
