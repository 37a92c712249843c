"""Bring the pipeline up to date, with as many stages at once as there are cores: `make repro` and `make ablations`.

One process applies a preset and single values to `params.yaml` (`configure`), repairs what a kill left behind
(`repair`), checks `params.yaml` (`check`), runs whatever is out of date, trainings first, and removes checkpoints of
trainings that are recorded. DVC runs each stage alone, in a process of its own, so that it is kept and restored as by
`dvc repro`. `dvc.lock` ends with the same bytes, however many stages run at once.

examples:
  goldilocks repro --jobs 1
  goldilocks repro --preset smoke --set "run.seeds=[0] sweep.trials=50"
  goldilocks repro --force sweep softmax
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from goldilocks.core import cli
from goldilocks.model5 import finished
from stages import check
from tools import configure, repair
from tools.scheduling import pipeline
from tools.scheduling.limits import limits
from tools.scheduling.runner import rebuild

TEXTS = ("tokens", "second_text")
"""The stages of the pipeline whose outputs the ablations train on."""

UP_TO_DATE = "Data and pipelines are up to date."


def jobs(text: str) -> int | None:
    """The value of `--jobs`; empty for what the machine has.

    Raises:
        UserError: if it is no number of jobs.
    """
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise cli.UserError(f"JOBS={text!r}: must be how many stages may run at once, 1 or more")
    return int(text)


def remove_checkpoints() -> None:
    """Remove the checkpoints of trainings that DVC has recorded, and list those that remain."""
    finished.prune()
    for folder, size in finished.unfinished():
        print(
            f"{folder}: a training that DVC has not recorded keeps {size / 1e6:,.0f} MB; "
            "remove the folder if you don't want it"
        )


def main() -> None:
    gc.set_threshold(100_000)  # a tenth of the time: few of the many objects of DVC ever go
    parser = cli.parser(__doc__, "tools.run")
    parser.add_argument("--preset", default="", help="name of a file in presets/ to apply first; empty for none")
    parser.add_argument("--set", default="", metavar="WORDS", help="values to apply first, as in make repro SET=...")
    parser.add_argument("--jobs", default="", metavar="N", help="stages at once; empty for as many as there are cores")
    parser.add_argument("--force", action="store_true", help="run every stage, also what is up to date or in the cache")
    parser.add_argument("--ablations", action="store_true", help="run the ablations' pipeline first")
    parser.add_argument("target", nargs="*", help="stages; all that they need comes first")
    arguments = parser.parse_args()
    asked = jobs(arguments.jobs)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if arguments.preset or arguments.set:
        configure.apply(arguments.preset, configure.split_args(arguments.set))
    repair.repair_records()
    settings = check.check()
    repair.repair_cache(pipeline.cache_folder())
    limited = limits(settings, asked)
    worked = False
    if arguments.ablations:
        rebuild(limited, TEXTS)
        worked = rebuild(limited, force=arguments.force, root=pipeline.ABLATIONS)
    if not rebuild(limited, arguments.target, arguments.force) and not worked:
        print(UP_TO_DATE)
    remove_checkpoints()


if __name__ == "__main__":
    cli.run(main)
