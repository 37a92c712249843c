"""Drawing many figures on two cores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.plotting.style import svg


def draw_all(figures: Mapping[str, Callable[[], Figure]], folder: Path, dpi: int) -> None:
    """Draw and write figures by name, together with a second process; each takes the next that is left.

    Raises:
        OSError: if a figure could not be written, by either process.
        UserError: if the second process ended otherwise.
    """
    names = list(figures)
    fork = multiprocessing.get_context("fork")
    begun, failures = fork.Value("i", 0), fork.SimpleQueue()

    def draw() -> None:
        while True:
            with begun.get_lock():
                at, begun.value = begun.value, begun.value + 1
            if at >= len(names):
                return
            files.write_text(folder / f"{names[at]}.svg", svg(figures[names[at]](), dpi))

    def help_out() -> None:
        try:
            draw()
        except OSError as error:
            failures.put(error)

    second = fork.Process(target=help_out)
    second.start()
    try:
        draw()
    finally:
        second.join()
    if not failures.empty():
        raise failures.get()
    if second.exitcode:
        raise UserError(f"figures: the second process ended with {second.exitcode}")
