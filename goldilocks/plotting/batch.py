"""Drawing many figures on two cores."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from goldilocks.core.cli import UserError
from goldilocks.core.progress import Progress
from goldilocks.plotting.style import save


def draw_all(figures: Mapping[str, Callable[[], Figure]], folder: Path, dpi: int) -> None:
    """Draw and write figures by name, together with a second process on Linux; each takes the next that is left.

    Raises:
        UserError: if the second process could not write its figures.
    """
    names = list(figures)
    if sys.platform != "linux":
        with Progress("figures", len(names), "figure") as progress:
            for name in names:
                save(figures[name](), folder / f"{name}.svg", dpi)
                progress.add(1)
        return
    context = multiprocessing.get_context("fork")
    taken = context.Value("i", 0)
    receiver, sender = context.Pipe(duplex=False)

    def write_what_is_left(progress: Progress | None = None) -> None:
        begun = 0
        while begun < len(names):
            with taken.get_lock():
                at, taken.value = taken.value, taken.value + 1
            if at < len(names):
                save(figures[names[at]](), folder / f"{names[at]}.svg", dpi)
            if progress:
                progress.add(min(at + 1, len(names)) - begun)
            begun = at + 1

    def help_out() -> None:
        try:
            write_what_is_left()
        except OSError as error:
            sender.send(str(error))
            os._exit(1)

    second = context.Process(target=help_out)
    second.start()
    try:
        with Progress("figures", len(names), "figure") as progress:
            write_what_is_left(progress)
    finally:
        second.join()
    if second.exitcode:
        ended = f"figures: the second process ended with {second.exitcode}"
        raise UserError(receiver.recv() if receiver.poll() else ended)
