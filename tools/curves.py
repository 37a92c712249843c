"""Show the losses of the trainings that run now, in a page that reloads itself.

It reads the trainings' checkpoints (`train.checkpoint_every`), so it can be started and stopped at any time, and has no
effect on a training. It ends with Ctrl-C, or once no training is unfinished.

Reads:  data/checkpoints/
Writes: data/curves.html

examples:
  goldilocks curves             until the trainings end
  goldilocks curves --once      the page as of now
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import pandas as pd

from goldilocks.core import cli, files
from goldilocks.model5.finished import CHECKPOINTS
from goldilocks.plotting import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = files.DATA / "curves.html"
PERIOD = 5  # seconds
WIDTH = 7.0  # inches
TEMPLATE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="{period}">
<title>Losses</title>
{figure}
<p>{trainings}. New points come with each checkpoint.</p>
"""


def losses() -> dict[str, pd.DataFrame]:
    """The losses so far of each unfinished training: step, split, loss; by the folder's name without its hash."""
    found = {}
    for folder in sorted(CHECKPOINTS.glob("seed-*-*")):
        for progress in sorted(folder.glob("step-*/progress.json"), reverse=True):
            with suppress(OSError, ValueError, KeyError):  # the newest may be removed or half written
                table = pd.DataFrame(json.loads(progress.read_text("utf-8"))["tables"]["losses"])
                found[folder.name.rpartition("-")[0]] = table
                break
    return found


def figure(found: Mapping[str, pd.DataFrame]) -> Figure:
    """Train losses as a mean over 20 steps, test losses with dots, one colour a training."""
    drawn, ((axes,),) = style.small_multiples(1)
    colours = dict(zip(found, style.ordered_colours(len(found)), strict=True))
    for name, table in found.items():
        train, test = (table[table["split"] == split] for split in ("train", "test"))
        axes.plot(train["step"], train["loss"].rolling(20, min_periods=1).mean(), color=colours[name], lw=1)
        axes.plot(test["step"], test["loss"], "o", color=colours[name], ms=4)
    axes.set_xlabel("step (updates)")
    axes.set_ylabel("loss (nats/token)")
    style.key(axes, colours)
    style.headline(drawn, "Losses so far", "Lines: training batches, mean over 20 steps. Dots: test windows.")
    return drawn


def write(found: Mapping[str, pd.DataFrame]) -> None:
    """Write the page."""
    trainings = ", ".join(f"{name} at step {table['step'].max():,}" for name, table in found.items())
    svg = ""
    if found:
        with style.applied(WIDTH):
            svg = style.svg(figure(found), dpi=100)
    page = TEMPLATE.format(period=PERIOD, figure=svg, trainings=trainings or "No training is unfinished")
    files.write_text(PAGE, page)


def main() -> None:
    parser = cli.parser(__doc__, "tools.curves")
    parser.add_argument("--once", action="store_true", help="write the page once and end")
    once = parser.parse_args().once
    found = losses()
    if not found:
        print(f"no unfinished training has a checkpoint in {CHECKPOINTS}")
        return
    print(f"{PAGE.resolve().as_uri()}: open it in a browser", flush=True)
    while found:
        write(found)
        if once:
            return
        time.sleep(PERIOD)
        found = losses()
    write(found)


if __name__ == "__main__":
    cli.run(main)
